//! People: whom the owner knows, whom they do not deal with, and invites.

use crate::door::{Door, Names, find_person};
use crate::link;
use crate::problem::{Body, Problem};
use crate::shapes::{
    Accepted, AcceptedState, Device, Invite, InviteWish, Invites, Join, Moment, Money, People, Person,
    Regarding,
};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use node::engine::people::{Answer, Open, Outcome, inviter};
use node::model::record::Account;
use node::model::{self, Contact, DeviceId, Id, PeerKey, PersonId, Profile, Signed};
use node::{Core, engine};
use std::collections::{BTreeMap, BTreeSet};

/// The most that are listed. Those whom the owner knows come first.
const LISTED: usize = 2_000;

/// Everyone of whom something is known: by the owner's word, by a lease, by a debt, or by being connected now.
#[utoipa::path(get, path = "/v1/people", tag = "people", responses((status = 200, body = People)))]
pub async fn list(State(door): State<Door>) -> Result<Json<People>, Problem> {
    let connected = connected(&door).await;
    let people = door.node.look(move |core| {
        let about = About::of(core, connected);
        let me = core.engine().identity().party().person;
        let mut people: Vec<Person> = about
            .everyone()
            .into_iter()
            .filter(|person| *person != me)
            .map(|person| about.tell(person))
            .collect();
        people.sort_by_key(|person| (person.regard.is_none(), person.name.is_none(), person.name.clone()));
        people.truncate(LISTED);
        People { people }
    });
    Ok(Json(people.await?))
}

/// One person: by the first digits of their key, or by name.
#[utoipa::path(get, path = "/v1/people/{person}", tag = "people", params(("person" = String, Path)), responses((status = 200, body = Person)))]
pub async fn one(State(door): State<Door>, Path(person): Path<String>) -> Result<Json<Person>, Problem> {
    tell(&door, person).await.map(Json)
}

async fn tell(door: &Door, person: String) -> Result<Person, Problem> {
    let connected = connected(door).await;
    let told = door.node.look(move |core| {
        let person = find_person(core, &person)?;
        Ok::<_, Problem>(About::of(core, connected).tell(person))
    });
    told.await?
}

/// Keeps what the owner makes of a person.
#[utoipa::path(put, path = "/v1/people/{person}", tag = "people", params(("person" = String, Path)), request_body = Regarding, responses((status = 200, body = Person)))]
pub async fn regard(
    State(door): State<Door>,
    Path(person): Path<String>,
    Body(wish): Body<Regarding>,
) -> Result<Json<Person>, Problem> {
    let found = door.node.look(move |core| {
        let person = find_person(core, &person)?;
        let before = core.engine().state().people.contact(person).cloned();
        let name = Names::of(core).get(person).unwrap_or_default().to_owned();
        Ok::<_, Problem>((
            person,
            before.unwrap_or(Contact { name, note: String::new(), regard: model::Regard::Known }),
        ))
    });
    let (person, before) = found.await??;
    let contact = Contact {
        name: wish.name.unwrap_or(before.name),
        note: wish.note.unwrap_or(before.note),
        regard: wish.regard.into(),
    };
    door.node.regard(person, Some(contact)).await?;
    tell(&door, person.to_string()).await.map(Json)
}

/// Forgets what the owner makes of a person: they are a stranger then. Leases and debts stay.
#[utoipa::path(delete, path = "/v1/people/{person}", tag = "people", params(("person" = String, Path)), responses((status = 200, body = Person)))]
pub async fn forget(State(door): State<Door>, Path(person): Path<String>) -> Result<Json<Person>, Problem> {
    let person = door.node.look(move |core| find_person(core, &person)).await??;
    door.node.regard(person, None).await?;
    tell(&door, person.to_string()).await.map(Json)
}

/// Invites that stand, and those of others that were accepted lately.
#[utoipa::path(get, path = "/v1/invites", tag = "people", responses((status = 200, body = Invites)))]
pub async fn invites(State(door): State<Door>) -> Result<Json<Invites>, Problem> {
    let invites = door.node.look(|core| {
        let people = &core.engine().state().people;
        Invites {
            invites: people.invites(core.now()).map(|(id, open)| invite_shape(id, open)).collect(),
            accepted: people.answers().filter_map(|(id, answer)| accepted_shape(id, answer)).collect(),
        }
    });
    Ok(Json(invites.await?))
}

/// Makes an invite: a link, and the same as a picture, to be handed to somebody by other means.
#[utoipa::path(post, path = "/v1/invites", tag = "people", request_body = InviteWish, responses((status = 201, body = Invite)))]
pub async fn invite(
    State(door): State<Door>,
    Body(wish): Body<InviteWish>,
) -> Result<(StatusCode, Json<Invite>), Problem> {
    let invite = door.node.invite(wish.stands.0, wish.uses).await?;
    let open = Open { uses: wish.uses, greeted: BTreeSet::new(), invite };
    Ok((StatusCode::CREATED, Json(invite_shape(open.invite.id(), &open))))
}

/// Takes an invite back: nobody can answer it any more. Who has answered it stays known.
#[utoipa::path(delete, path = "/v1/invites/{id}", tag = "people", params(("id" = String, Path)), responses((status = 204)))]
pub async fn withdraw(State(door): State<Door>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = door.node.look(move |core| find_invite(core, &id)).await??;
    door.node.withdraw(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepts the invite of another: they are known here at once, and told as soon as they are reached.
#[utoipa::path(post, path = "/v1/invites/accept", tag = "people", request_body = Join, responses((status = 200, body = Person)))]
pub async fn join(State(door): State<Door>, Body(join): Body<Join>) -> Result<Json<Person>, Problem> {
    let invite = link::read(&join.link)
        .map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_invite", why.to_string()))?;
    let (host, _) = door.node.accept(invite).await?;
    tell(&door, host.party.person.to_string()).await.map(Json)
}

async fn connected(door: &Door) -> BTreeSet<PeerKey> {
    door.node.peers().await.into_iter().map(|seen| seen.peer).collect()
}

/// What there is to tell of people, looked up once for all of them.
struct About<'a> {
    core: &'a Core,
    names: Names,
    devices: BTreeMap<PersonId, Vec<(PeerKey, &'a Signed<Profile>)>>,
    connected: BTreeSet<PeerKey>,
    offering: BTreeSet<DeviceId>,
    debts: BTreeMap<PersonId, Vec<Money>>,
}

impl About<'_> {
    fn of(core: &Core, connected: BTreeSet<PeerKey>) -> About<'_> {
        let mut debts: BTreeMap<PersonId, Vec<Money>> = BTreeMap::new();
        for (account, amount) in core.engine().state().ledger.balances() {
            if let Account::Person(person) = account {
                debts.entry(person).or_default().push(amount.into());
            }
        }
        let book = core.engine().book();
        let mut devices: BTreeMap<PersonId, Vec<_>> = BTreeMap::new();
        for (person, profile) in book.profiles() {
            devices.entry(person.party.person).or_default().push((person.peer, profile));
        }
        let offering = book.standing(core.now()).map(|listing| listing.host.party.device).collect();
        About { core, names: Names::of(core), devices, connected, offering, debts }
    }

    fn everyone(&self) -> BTreeSet<PersonId> {
        let state = self.core.engine().state();
        let contacts = state.people.contacts().map(|(person, _)| person);
        let scored = state.reputation.known().map(|(person, _)| person);
        let here = self
            .devices
            .iter()
            .filter(|(_, devices)| devices.iter().any(|(peer, _)| self.connected.contains(peer)));
        contacts
            .chain(scored)
            .chain(self.debts.keys().copied())
            .chain(here.map(|(person, _)| *person))
            .collect()
    }

    fn tell(&self, person: PersonId) -> Person {
        let state = self.core.engine().state();
        let contact = state.people.contact(person);
        let score = state.reputation.score(person);
        Person {
            person: person.to_string(),
            name: self.names.get(person).map(str::to_owned),
            calls_themselves: self.names.own(person).map(str::to_owned),
            note: contact.map(|contact| contact.note.clone()).unwrap_or_default(),
            regard: contact.map(|contact| contact.regard.into()),
            trust: score.trust(),
            leases: score.leases,
            broken: score.broken,
            cheated: score.cheated,
            balances: self.debts.get(&person).cloned().unwrap_or_default(),
            devices: self
                .devices
                .get(&person)
                .into_iter()
                .flatten()
                .map(|(peer, profile)| self.device(*peer, profile))
                .collect(),
        }
    }

    fn device(&self, peer: PeerKey, profile: &Signed<Profile>) -> Device {
        // The book has verified it when it came; what has expired since is still the person's device.
        let label = profile.certificate.verify_past().map(|certificate| certificate.label.clone());
        Device {
            device: profile.signer().to_string(),
            label: label.unwrap_or_default(),
            peer: peer.to_string(),
            connected: self.connected.contains(&peer),
            offers: self.offering.contains(&profile.signer()),
        }
    }
}

fn find_invite(core: &Core, digits: &str) -> Result<Id<model::Invite>, Problem> {
    let digits = digits.to_ascii_lowercase();
    let invites = core.engine().state().people.invites(core.now());
    let mut fits =
        invites.map(|(id, _)| id).filter(|id| !digits.is_empty() && id.to_string().starts_with(&digits));
    match (fits.next(), fits.next()) {
        (Some(id), None) => Ok(id),
        _ => Err(node::Error::Refused(engine::people::Refusal::UnknownInvite.into()).into()),
    }
}

fn invite_shape(id: Id<model::Invite>, open: &Open) -> Invite {
    let link = link::write(&open.invite);
    Invite {
        id: id.to_string(),
        picture: link::picture(&link),
        link,
        expires: Moment(open.invite.expires),
        uses: open.uses,
        used: open.greeted.len(),
    }
}

fn accepted_shape(id: Id<model::Invite>, answer: &Answer) -> Option<Accepted> {
    let (state, why) = match &answer.outcome {
        Outcome::Waiting => (AcceptedState::Waiting, None),
        Outcome::Heard => (AcceptedState::Heard, None),
        Outcome::Refused(why) => (AcceptedState::Refused, Some(why.clone())),
    };
    let person = inviter(&answer.invite)?.party.person.to_string();
    Some(Accepted { id: id.to_string(), person, name: answer.invite.name.clone(), state, why })
}
