//! The client by which this node fetches over HTTP: from registries, and from where releases lie. Servers are strangers: where
//! they send us on is judged each time, and one that says nothing is given up.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};

/// A server that does not take the connection in this time is down.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that sends nothing for so long has stopped.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Registries hand over to a storage server, and that to another: never more than this.
const MAX_REDIRECTS: usize = 5;

/// Goes where it is sent if `may_be_asked` finds nothing against it.
pub fn client(may_be_asked: impl Fn(&Url) -> Result<(), String> + Send + Sync + 'static) -> ClientBuilder {
    let policy = Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error("too many redirects");
        }
        match may_be_asked(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(why) => attempt.error(why),
        }
    });
    Client::builder()
        .user_agent(concat!("sublet/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .redirect(policy)
}
