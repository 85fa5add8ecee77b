//! The person's key, as the owner deals with it while the node runs. Where it is kept: [`crate::vault`].

use crate::Error;
use crate::handle::NodeHandle;
use crate::vault::{Kept, Vault, VaultError};

impl NodeHandle {
    /// Where the person's key is, and whether somebody has proven to have its words.
    pub fn key(&self) -> (Kept, bool) {
        let vault = self.vault();
        (vault.kept(), vault.is_confirmed())
    }

    /// The key's 24 words.
    ///
    /// # Errors
    /// When it is not here, or locked.
    pub async fn words(&self, passphrase: Option<String>) -> Result<Vec<&'static str>, Error> {
        self.with_vault(move |vault| vault.words(passphrase.as_deref())).await
    }

    /// Keeps in mind that the owner has the words.
    ///
    /// # Errors
    /// When these are not they.
    pub async fn confirm_words(&self, words: String) -> Result<(), Error> {
        let person = self.identity().party().person;
        self.with_vault(move |vault| vault.confirm(&words, person)).await
    }

    /// Locks the key by a passphrase.
    ///
    /// # Errors
    /// When it is not here in the open, or the passphrase is too short.
    pub async fn lock_key(&self, passphrase: String) -> Result<(), Error> {
        self.with_vault(move |vault| vault.lock(&passphrase)).await
    }

    /// Takes the passphrase off again.
    ///
    /// # Errors
    /// When it is another.
    pub async fn unlock_key(&self, passphrase: String) -> Result<(), Error> {
        self.with_vault(move |vault| vault.unlock(&passphrase)).await
    }

    /// Takes the key off this computer.
    ///
    /// # Errors
    /// When nobody has proven to have its words.
    pub async fn forget_key(&self) -> Result<(), Error> {
        self.with_vault(|vault| vault.forget()).await
    }

    /// Brings a key back by its words. A node that has dealt with nobody yet may become another person by it: it does when
    /// it starts again, which is what the answer says.
    ///
    /// # Errors
    /// When the words are no key, or another's and this node has a history.
    pub async fn restore_key(&self, words: String) -> Result<bool, Error> {
        let person = self.identity().party().person;
        let fresh = self.look(|core| {
            let state = core.engine().state();
            state.lease.all().next().is_none()
                && state.ledger.balances().next().is_none()
                && state.market.share.is_none()
        });
        let fresh = fresh.await?;
        self.with_vault(move |vault| vault.restore(&words, person, fresh)).await
    }

    fn vault(&self) -> Vault {
        Vault::of(&self.config().data)
    }

    /// A passphrase takes a fraction of a second and 64 MiB to be looked at: not on the threads that others wait for.
    async fn with_vault<T: Send + 'static>(
        &self,
        work: impl FnOnce(Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, Error> {
        let vault = self.vault();
        let done = tokio::task::spawn_blocking(move || work(vault)).await;
        Ok(done.map_err(|_| Error::Cancelled)??)
    }
}
