//! `sublet dashboard`: the pages in a browser.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::show::fields;
use api::shapes::Dashboard;
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal};

/// What to do about the pages.
#[derive(Args, Debug)]
pub struct DashboardArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a link that lets one browser of this computer in, within ten minutes.
    Link,
    /// Show where the pages are served, and which browsers were let in.
    Show,
    /// Set the passphrase for browsers of the local network.
    Passphrase,
    /// End the sessions of all browsers.
    End,
}

/// Prints a link, shows, sets, ends.
pub async fn run(desk: &Desk<'_>, args: DashboardArgs) -> Done {
    match args.what.unwrap_or(What::Link) {
        What::Link => {
            let link = desk.client.dashboard_link().await?;
            desk.out.either(&link, || link.url.clone()).map(|()| 0)
        }
        What::Show => {
            let dashboard = desk.client.dashboard().await?;
            desk.out.either(&dashboard, || story(&dashboard)).map(|()| 0)
        }
        What::Passphrase => {
            desk.client.set_dashboard_passphrase(&new_passphrase()?).await?;
            told(desk, "the passphrase is set")
        }
        What::End => {
            desk.client.end_browsers().await?;
            told(desk, "every browser has to come in anew")
        }
    }
}

fn told(desk: &Desk<'_>, sentence: &str) -> Done {
    desk.out.either(&json!({ "done": sentence }), || sentence.to_owned()).map(|()| 0)
}

fn new_passphrase() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let passphrase = rpassword::prompt_password("A passphrase for browsers of the local network: ")?;
    if rpassword::prompt_password("Once more: ")? != passphrase {
        return Err(Failure::misused("the two are not the same"));
    }
    Ok(passphrase)
}

fn story(dashboard: &Dashboard) -> String {
    let no = |flag: &str| format!("not served: `sublet host {flag}`");
    let lan = dashboard.lan.as_ref().map(|lan| format!("{}\ncertificate {}", lan.address, lan.fingerprint));
    let browsers = dashboard.browsers.iter().map(|browser| browser.agent.clone()).collect::<Vec<_>>();
    fields([
        ("this computer", dashboard.address.clone().unwrap_or_else(|| no("--dashboard"))),
        ("local network", lan.unwrap_or_else(|| no("--lan"))),
        ("passphrase", if dashboard.passphrase_set { "set" } else { "none" }.to_owned()),
        ("browsers", browsers.join("\n")),
    ])
}
