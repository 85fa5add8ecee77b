//! Whom I know, and whom I do not deal with; and how two people come to know each other.
//!
//! An invite is a signed document that travels outside of Sublet: as a link, or a picture of one. Whoever shows it is
//! expected: the inviting node then knows the person, and the invited one knew whom it was accepting. What I make of a
//! person stays on this computer.

use crate::effect::{Effect, Topic};
use crate::lease::is_for_now;
use crate::{Identity, Step};
use model::message::{Request, Response};
use model::record::{Entry, Record};
use model::{
    Audience, Contact, Greeting, Id, Invalid, Invite, Nonce, PeerKey, Person, PersonId, Regard, Signed, Span,
    Timestamp, Unverified, plain,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Contacts that are kept. More is a program, not a person.
const CONTACTS: usize = 10_000;

/// Invites that are open at once.
const INVITES: usize = 200;

/// Invites of others that wait to be answered at once.
const ANSWERS: usize = 50;

/// How many people one invite may let in.
const MOST_USES: u32 = 1_000;

/// How long it is told what became of an answer.
const TOLD_FOR: Span = Span::days(7);

/// Whom I know, and the invites that are under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    contacts: BTreeMap<PersonId, Contact>,
    invites: BTreeMap<Id<Invite>, Open>,
    answers: BTreeMap<Id<Invite>, Answer>,
}

/// An invite of ours that can be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The invite.
    pub invite: Signed<Invite>,
    /// How many people may answer it.
    pub uses: u32,
    /// Who has.
    pub greeted: BTreeSet<PersonId>,
}

/// An invite of another that we have accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The invite.
    pub invite: Signed<Invite>,
    /// What we say to it.
    pub greeting: Signed<Greeting>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an answer to an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The other was not reached yet.
    Waiting,
    /// The other knows us now.
    Heard,
    /// The invite was no longer good.
    Refused(String),
}

/// What can be wanted.
#[derive(Clone, Debug)]
pub enum Command {
    /// To make up my mind about a person, or to forget what I thought.
    Regard {
        /// Whom.
        person: PersonId,
        /// What I make of them; none: nothing any more.
        contact: Option<Contact>,
    },
    /// To invite somebody.
    Invite {
        /// Sixteen random bytes.
        nonce: Nonce,
        /// What I call myself.
        name: String,
        /// Where I am reached.
        addresses: Vec<String>,
        /// For how long.
        stands: Span,
        /// How many people.
        uses: u32,
    },
    /// To take an invite back.
    Withdraw(Id<Invite>),
    /// To accept the invite of another.
    Accept {
        /// As it came.
        invite: Box<Unverified<Invite>>,
        /// What I call myself.
        name: String,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Values out of range.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// The person is the one at this computer.
    #[error("this is you")]
    Yourself,
    /// There is no such invite, or it is no longer good.
    #[error("this invite was never given, has been used, or is over")]
    UnknownInvite,
    /// The connection is not the signer's.
    #[error("the connection is not the signer's")]
    NotTheSender,
    /// More than one node keeps.
    #[error("{limit} {what} are the most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Not nought, and not more than makes sense.
    #[error("an invite is for 1 to {MOST_USES} people")]
    Uses,
}

impl Refusal {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid(Invalid::Expired(_)) => "invite_expired",
            Refusal::Invalid(_) | Refusal::Uses => "out_of_range",
            Refusal::Yourself => "yourself",
            Refusal::UnknownInvite => "unknown_invite",
            Refusal::NotTheSender => "not_the_sender",
            Refusal::TooMany { .. } => "too_many",
        }
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Refusal::Invalid(Invalid::Expired(_)) | Refusal::UnknownInvite => "Ask for a new invite.",
            Refusal::TooMany { what: "contacts", .. } => "Forget some: `sublet people forget`.",
            Refusal::TooMany { .. } => "Take some back: `sublet invite withdraw`.",
            Refusal::Invalid(_) | Refusal::Yourself | Refusal::NotTheSender | Refusal::Uses => "",
        }
    }
}

impl State {
    /// What I make of a person; none: nothing.
    pub fn contact(&self, person: PersonId) -> Option<&Contact> {
        self.contacts.get(&person)
    }

    /// Everyone of whom I make something.
    pub fn contacts(&self) -> impl Iterator<Item = (PersonId, &Contact)> {
        self.contacts.iter().map(|(person, contact)| (*person, contact))
    }

    /// Invites of ours that stand at `now`.
    pub fn invites(&self, now: Timestamp) -> impl Iterator<Item = (Id<Invite>, &Open)> {
        self.invites.iter().filter(move |(_, open)| open.invite.expires > now).map(|(id, open)| (*id, open))
    }

    /// Invites of others that we have accepted not long ago.
    pub fn answers(&self) -> impl Iterator<Item = (Id<Invite>, &Answer)> {
        self.answers.iter().map(|(id, answer)| (*id, answer))
    }

    /// Whether I know a person.
    pub fn knows(&self, person: PersonId) -> bool {
        self.contacts.get(&person).is_some_and(|contact| contact.regard == Regard::Known)
    }

    /// Whether I do not deal with a person.
    pub fn blocks(&self, person: PersonId) -> bool {
        self.contacts.get(&person).is_some_and(|contact| contact.regard == Regard::Blocked)
    }

    /// Whether what is lent to an audience is for this person.
    pub fn admits(&self, audience: Audience, person: PersonId) -> bool {
        match audience {
            Audience::Everyone => !self.blocks(person),
            Audience::Known => self.knows(person),
        }
    }

    /// Makes a written record true.
    pub fn apply(&mut self, entry: &Entry) {
        self.forget(entry.at);
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "each subject reads the few records that concern it"
        )]
        match &entry.record {
            Record::Regarded { person, contact } => match contact {
                Some(contact) => drop(self.contacts.insert(*person, contact.clone())),
                None => drop(self.contacts.remove(person)),
            },
            Record::Invited { invite, uses } => {
                let open = Open { invite: invite.clone(), uses: *uses, greeted: BTreeSet::new() };
                self.invites.insert(invite.id(), open);
            }
            Record::Withdrawn { invite } => drop(self.invites.remove(invite)),
            Record::Greeted { invite, person } => {
                if let Some(open) = self.invites.get_mut(invite) {
                    open.greeted.insert(*person);
                }
            }
            Record::Accepting { invite, greeting } => {
                let answer =
                    Answer { invite: invite.clone(), greeting: greeting.clone(), outcome: Outcome::Waiting };
                self.answers.insert(invite.id(), answer);
            }
            Record::Answered { invite, refusal } => {
                if let Some(answer) = self.answers.get_mut(invite) {
                    answer.outcome = refusal.clone().map_or(Outcome::Heard, Outcome::Refused);
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, now: Timestamp) {
        self.invites.retain(|_, open| open.invite.expires > now);
        self.answers.retain(|_, answer| match answer.outcome {
            Outcome::Waiting => answer.greeting.expires > now,
            Outcome::Heard | Outcome::Refused(_) => answer.greeting.issued + TOLD_FOR > now,
        });
    }

    /// What others are still to be told.
    pub fn wanted(&self, now: Timestamp) -> Vec<Effect> {
        let waiting = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.outcome == Outcome::Waiting && answer.greeting.expires > now);
        let told = waiting.filter_map(|(id, answer)| {
            let request = Request::Greet(answer.greeting.unverified());
            Some(Effect::Send { to: inviter(&answer.invite)?.peer, topic: Topic::Greet(*id), request })
        });
        told.collect()
    }
}

/// Who has made an invite, as the certificate in it proves.
pub fn inviter(invite: &Signed<Invite>) -> Option<Person> {
    Person::proven(&invite.certificate, invite.signer(), invite.issued).ok()
}

/// Decides what is wanted.
///
/// # Errors
/// Why not.
pub fn command(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    command: Command,
) -> Result<Step, Refusal> {
    match command {
        Command::Regard { person, contact } => regard(identity, state, person, contact),
        Command::Invite { nonce, name, addresses, stands, uses } => {
            if !(1..=MOST_USES).contains(&uses) {
                return Err(Refusal::Uses);
            }
            if state.invites(now).count() >= INVITES {
                return Err(Refusal::TooMany { what: "invites", limit: INVITES });
            }
            let certificate = identity.certificate.unverified();
            let invite = Invite { certificate, name, addresses, nonce, issued: now, expires: now + stands };
            Ok(Step::of(vec![Record::Invited { invite: identity.key.sign(&invite)?, uses }]))
        }
        Command::Withdraw(invite) if state.invites.contains_key(&invite) => {
            Ok(Step::of(vec![Record::Withdrawn { invite }]))
        }
        Command::Withdraw(_) => Err(Refusal::UnknownInvite),
        Command::Accept { invite, name } => accept(identity, state, now, &invite, name),
    }
}

fn regard(
    identity: &Identity,
    state: &State,
    person: PersonId,
    contact: Option<Contact>,
) -> Result<Step, Refusal> {
    if person == identity.party().person {
        return Err(Refusal::Yourself);
    }
    if let Some(contact) = &contact {
        contact.check()?;
        has_room(state, person)?;
    }
    if state.contact(person) == contact.as_ref() {
        return Ok(Step::default());
    }
    Ok(Step::of(vec![Record::Regarded { person, contact }]))
}

fn has_room(state: &State, person: PersonId) -> Result<(), Refusal> {
    if state.contacts.len() >= CONTACTS && !state.contacts.contains_key(&person) {
        return Err(Refusal::TooMany { what: "contacts", limit: CONTACTS });
    }
    Ok(())
}

/// Accepting is knowing: who hands me an invite is somebody I know.
fn accept(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    invite: &Unverified<Invite>,
    name: String,
) -> Result<Step, Refusal> {
    let invite = invite.verify(now)?;
    let host = Person::proven(&invite.certificate, invite.signer(), now)?;
    if host.party.person == identity.party().person {
        return Err(Refusal::Yourself);
    }
    if state.answers.contains_key(&invite.id()) {
        return Ok(Step::default());
    }
    if state.answers.len() >= ANSWERS {
        return Err(Refusal::TooMany { what: "accepted invites", limit: ANSWERS });
    }
    has_room(state, host.party.person)?;
    let greeting = Greeting {
        invite: invite.id(),
        certificate: identity.certificate.unverified(),
        name,
        issued: now,
        expires: invite.expires.max(now + Span::minutes(1)),
    };
    let greeting = identity.key.sign(&greeting)?;
    let contact = known(state, host.party.person, &invite.name);
    Ok(Step::of(vec![
        Record::Regarded { person: host.party.person, contact: Some(contact) },
        Record::Accepting { invite, greeting },
    ]))
}

/// Somebody I know from now on, by the name that I gave them or the one that they give themselves.
fn known(state: &State, person: PersonId, name: &str) -> Contact {
    match state.contact(person) {
        Some(contact) => Contact { regard: Regard::Known, ..contact.clone() },
        None => Contact { name: name.to_owned(), note: String::new(), regard: Regard::Known },
    }
}

/// As who invited: somebody shows an invite. Heard twice, it is answered twice alike.
///
/// # Errors
/// When the invite is not good, or the one who shows it is another than who signed.
pub fn greeted(
    state: &State,
    now: Timestamp,
    from: PeerKey,
    greeting: &Unverified<Greeting>,
) -> Result<Step, Refusal> {
    let greeting = greeting.verify(now)?;
    let guest = Person::proven(&greeting.certificate, greeting.signer(), now)?;
    if guest.peer != from {
        return Err(Refusal::NotTheSender);
    }
    let person = guest.party.person;
    let open = state.invites.get(&greeting.invite).filter(|open| open.invite.expires > now);
    let open = open.ok_or(Refusal::UnknownInvite)?;
    if open.greeted.contains(&person) {
        return Ok(Step::answer(Response::Done));
    }
    // Who was blocked after the invite was given is not let in by it.
    let used_up = open.greeted.len() >= usize::try_from(open.uses).unwrap_or(usize::MAX);
    if used_up || state.blocks(person) {
        return Err(Refusal::UnknownInvite);
    }
    has_room(state, person)?;
    let contact = known(state, person, &greeting.name);
    let records = vec![
        Record::Regarded { person, contact: Some(contact) },
        Record::Greeted { invite: greeting.invite, person },
    ];
    Ok(Step::and_answer(records, Response::Done))
}

/// As who was invited: the answer to the answer.
pub fn heard(state: &State, invite: Id<Invite>, response: &Response) -> Step {
    if state.answers.get(&invite).is_none_or(|answer| answer.outcome != Outcome::Waiting) {
        return Step::default();
    }
    let refusal = match response {
        Response::Done => None,
        Response::Denied(denial) if is_for_now(denial) => return Step::default(),
        Response::Denied(denial) => Some(plain(&denial.sentence, 200)),
        Response::Quote(_)
        | Response::Lease(_)
        | Response::Tick(_)
        | Response::Renewal(_)
        | Response::Standing(_) => return Step::default(),
    };
    Step::of(vec![Record::Answered { invite, refusal }])
}
