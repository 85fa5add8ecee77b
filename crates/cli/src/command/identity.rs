//! `sublet identity`: who this node is, and the person's key.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::show::fields;
use api::ClientError;
use api::node::{Vault, VaultError};
use api::shapes::{Identity, KeyPlace, Moment, Restored, Words};
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal};

/// What to do about who you are.
#[derive(Args, Debug)]
pub struct IdentityArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show who this node is, and where your key is kept.
    Show,
    /// Show the 24 words of your key, to be written down. Who has them is you.
    Words,
    /// Prove that you have the words: type them in.
    Confirm,
    /// Lock your key by a passphrase.
    Lock,
    /// Take the passphrase off again.
    Unlock,
    /// Take your key off this computer; your words bring it back. The node runs on without it.
    Forget,
    /// Bring your key back by its 24 words, here or on a new computer.
    Restore,
}

/// Does it: by the node that runs, or, where none can run without the key, by the files themselves.
pub async fn run(desk: &Desk<'_>, args: IdentityArgs) -> Done {
    let identity = match args.what.unwrap_or(What::Show) {
        What::Show => desk.client.identity().await?,
        What::Words => return words(desk).await,
        What::Confirm => desk.client.confirm_words(&typed_words()?).await?,
        What::Lock => {
            let passphrase = secret("A passphrase for your key: ")?;
            if io::stdin().is_terminal() && secret("Once more: ")? != passphrase {
                return Err(Failure::misused("the two are not the same"));
            }
            desk.client.lock_key(&passphrase).await?
        }
        What::Unlock => return unlock(desk).await,
        What::Forget => desk.client.forget_key().await?,
        What::Restore => return restore(desk).await,
    };
    desk.out.either(&identity, || story(&identity)).map(|()| 0)
}

async fn words(desk: &Desk<'_>) -> Done {
    let passphrase = match desk.client.identity().await?.key {
        KeyPlace::Locked => Some(secret("The passphrase of your key: ")?),
        KeyPlace::Here | KeyPlace::Away => None,
    };
    let words = desk.client.words(passphrase).await?;
    let text = || {
        let columns = words.words.chunks(6).zip((1..).step_by(6)).map(|(row, first)| {
            let cells = row.iter().zip(first..).map(|(word, number)| format!("{number:>2} {word:<9}"));
            cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        });
        let table = columns.collect::<Vec<_>>().join("\n");
        format!(
            "{table}\n\nWrite them down in this order, on paper. Who has them is you; without them a lost key stays lost.\nThen: sublet identity confirm"
        )
    };
    desk.out.either(&words, text).map(|()| 0)
}

async fn unlock(desk: &Desk<'_>) -> Done {
    let passphrase = secret("The passphrase of your key: ")?;
    match desk.client.unlock_key(&passphrase).await {
        Ok(identity) => desk.out.either(&identity, || story(&identity)).map(|()| 0),
        Err(ClientError::NoNode(_)) => {
            Vault::of(&desk.data).unlock(&passphrase).map_err(by_hand)?;
            told(desk, "your key is unlocked; start the node again: `sublet host`")
        }
        Err(error) => Err(error.into()),
    }
}

async fn restore(desk: &Desk<'_>) -> Done {
    let words = typed_words()?;
    let restored = match desk.client.restore_key(&words).await {
        Ok(restored) => restored,
        Err(ClientError::NoNode(_)) => {
            // A directory without a record is nobody's yet.
            let is_new = !desk.data.join("sublet.db").exists();
            let vault = Vault::of(&desk.data);
            let restart_needed = vault.restore_offline(&words.words.join(" "), is_new).map_err(by_hand)?;
            Restored { restart_needed }
        }
        Err(error) => return Err(error.into()),
    };
    let text = || {
        if restored.restart_needed {
            "your key is here; this node is you as soon as it starts again: `sublet host`".to_owned()
        } else {
            "your key is here again".to_owned()
        }
    };
    desk.out.either(&restored, text).map(|()| 0)
}

fn told(desk: &Desk<'_>, sentence: &str) -> Done {
    desk.out.either(&json!({ "done": sentence }), || sentence.to_owned()).map(|()| 0)
}

fn by_hand(error: VaultError) -> Failure {
    let (code, hint, sentence) = (error.code(), error.hint(), error.to_string());
    match error {
        VaultError::Words(_) | VaultError::WrongPassphrase | VaultError::ShortPassphrase => {
            Failure::misused(sentence).hint(hint)
        }
        VaultError::Broken { .. } | VaultError::File { .. } | VaultError::Fault(_) => {
            Failure::fault(sentence)
        }
        VaultError::Away | VaultError::Locked | VaultError::OtherPerson | VaultError::NotConfirmed => {
            Failure::refused(code, sentence).hint(hint)
        }
    }
}

/// Words that are typed in, or come in by a pipe. They are no argument: arguments are seen by all and kept by shells.
fn typed_words() -> Result<Words, Failure> {
    let text = secret("Your 24 words, in their order, with spaces between: ")?;
    Ok(Words { words: text.split_whitespace().map(str::to_owned).collect() })
}

/// A line that is not shown as it is typed.
fn secret(prompt: &str) -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password(prompt)?);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn story(identity: &Identity) -> String {
    let key = match identity.key {
        KeyPlace::Here => "here, without a passphrase",
        KeyPlace::Locked => "here, locked by a passphrase",
        KeyPlace::Away => "not on this computer",
    };
    let words = match (identity.words_confirmed, identity.key) {
        (true, _) => "confirmed",
        (false, KeyPlace::Away) => "",
        (false, KeyPlace::Here | KeyPlace::Locked) => "not confirmed yet: `sublet identity words`",
    };
    fields([
        ("person", identity.person.clone()),
        ("device", format!("{} {}", identity.device, identity.label)),
        ("certified until", day(identity.certified_until)),
        ("key", key.to_owned()),
        ("words", words.to_owned()),
    ])
}

fn day(at: Moment) -> String {
    let text = serde_json::to_value(at).unwrap_or_default();
    text.as_str().and_then(|text| text.get(..10)).unwrap_or_default().to_owned()
}
