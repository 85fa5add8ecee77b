//! People: what the owner makes of them, and invites. The rules are in `engine::people`.

use crate::handle::NodeHandle;
use crate::{Error, keys};
use engine::people::{Command, inviter};
use engine::{Input, State};
use model::{Contact, Id, Invite, Nonce, Person, PersonId, Signed, Span, Unverified};
use net::Net;

impl NodeHandle {
    /// Keeps what the owner makes of a person; none: forgets it.
    ///
    /// # Errors
    /// When a value is out of range, or the person is the owner.
    pub async fn regard(&self, person: PersonId, contact: Option<Contact>) -> Result<(), Error> {
        self.people(Command::Regard { person, contact }).await
    }

    /// Makes an invite for so many people, and for so long.
    ///
    /// # Errors
    /// When a value is out of range, or too many invites stand.
    pub async fn invite(&self, stands: Span, uses: u32) -> Result<Signed<Invite>, Error> {
        let nonce = Nonce(keys::random()?);
        let mut addresses = self.net().addresses().await;
        addresses.truncate(MOST_ADDRESSES);
        let name = self.name();
        self.people(Command::Invite { nonce, name, addresses, stands, uses }).await?;
        let made = self
            .look(move |core| {
                let mut invites = core.engine().state().people.invites(core.now());
                invites.find(|(_, open)| open.invite.nonce == nonce).map(|(_, open)| open.invite.clone())
            })
            .await?;
        made.ok_or(Error::Cancelled)
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// When there is none.
    pub async fn withdraw(&self, invite: Id<Invite>) -> Result<(), Error> {
        self.people(Command::Withdraw(invite)).await
    }

    /// Accepts the invite of another, and tells them as soon as they are reached.
    ///
    /// # Errors
    /// When the invite is not valid, or our own.
    pub async fn accept(&self, invite: Unverified<Invite>) -> Result<(Person, Signed<Invite>), Error> {
        let now = self.look(|core| core.now()).await?;
        let verified = invite.verify(now).map_err(engine::people::Refusal::Invalid).map_err(refused)?;
        let host = inviter(&verified).ok_or(Error::Cancelled)?;
        self.net().know(host.peer, verified.addresses.clone());
        let name = self.name();
        self.people(Command::Accept { invite: Box::new(invite), name }).await?;
        Ok((host, verified))
    }

    async fn people(&self, command: Command) -> Result<(), Error> {
        self.decide(Input::People(command)).await.map(|_| ())
    }
}

/// As many as an invite takes.
const MOST_ADDRESSES: usize = 8;

fn refused(refusal: engine::people::Refusal) -> Error {
    Error::Refused(refusal.into())
}

/// Where those are reached whose invites were accepted and who do not know yet: no profile of theirs may have come.
pub(crate) fn remember(net: &Net, state: &State) {
    for (_, answer) in state.people.answers() {
        if let Some(host) = inviter(&answer.invite) {
            net.know(host.peer, answer.invite.addresses.clone());
        }
    }
}
