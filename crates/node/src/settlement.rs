//! Debts that were paid. The rules are in `engine::settlement`.

use crate::handle::NodeHandle;
use crate::{Error, keys};
use engine::Input;
use engine::settlement::Command;
use model::{Amount, Id, Nonce, PersonId, Settlement};

impl NodeHandle {
    /// Says that a debt, or a part of it, was paid to a person.
    ///
    /// # Errors
    /// When more was paid than is owed, or no device of the person is known.
    pub async fn pay(
        &self,
        person: PersonId,
        amount: Amount,
        method: String,
        reference: String,
    ) -> Result<Id<Settlement>, Error> {
        let nonce = Nonce(keys::random()?);
        self.settle(Command::Pay { person, amount, method, reference, nonce }).await?;
        let made = self
            .look(move |core| {
                let mut payments = core.engine().state().settlement.payments();
                payments.find(|(_, payment)| payment.settlement.nonce == nonce).map(|(id, _)| id)
            })
            .await?;
        made.ok_or(Error::Cancelled)
    }

    /// Says that a payment has come: from then on both have booked it.
    ///
    /// # Errors
    /// When no such payment waits for an answer here.
    pub async fn confirm(&self, settlement: Id<Settlement>) -> Result<(), Error> {
        self.settle(Command::Confirm(settlement)).await
    }

    /// Says that a payment has not come.
    ///
    /// # Errors
    /// When no such payment waits for an answer here.
    pub async fn reject(&self, settlement: Id<Settlement>, why: String) -> Result<(), Error> {
        self.settle(Command::Reject { settlement, why }).await
    }

    async fn settle(&self, command: Command) -> Result<(), Error> {
        self.decide(Input::Settle(command)).await.map(|_| ())
    }
}
