//! `sublet settings`: how this node runs.

use crate::Done;
use crate::desk::Desk;
use crate::show::fields;
use api::shapes::{Settings, SettingsWish};
use clap::{Args, Subcommand};

/// What to do with the settings.
#[derive(Args, Debug)]
pub struct SettingsArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show them.
    Show,
    /// Change some. What is not named stays as it is.
    Set(SetArgs),
}

#[derive(Args, Debug)]
struct SetArgs {
    /// What you call yourself; everybody sees it.
    #[arg(long)]
    name: Option<String>,
    /// Where to listen for peers, as a multiaddress; may be given several times; an empty one: everywhere.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Vec<String>>,
    /// A peer to meet first, as a multiaddress with its /p2p/ id; may be given several times; an empty one: none.
    #[arg(long, value_name = "ADDRESS")]
    bootstrap: Option<Vec<String>>,
    /// Whether to look for peers on the local network.
    #[arg(long, value_name = "YES")]
    mdns: Option<bool>,
    /// Whether to ask the router for a port, so that peers on the internet can call.
    #[arg(long, value_name = "YES")]
    upnp: Option<bool>,
    /// Whether to carry the connections of peers that cannot be called.
    #[arg(long, value_name = "YES")]
    relay: Option<bool>,
}

/// Shows, or sets.
pub async fn run(desk: &Desk<'_>, args: SettingsArgs) -> Done {
    let settings = match args.what.unwrap_or(What::Show) {
        What::Show => desk.client.settings().await?,
        What::Set(args) => {
            let some = |list: Vec<String>| list.into_iter().filter(|address| !address.is_empty()).collect();
            let wish = SettingsWish {
                name: args.name,
                listen: args.listen.map(some),
                bootstrap: args.bootstrap.map(some),
                mdns: args.mdns,
                upnp: args.upnp,
                relay: args.relay,
            };
            desk.client.set_settings(&wish).await?
        }
    };
    desk.out.either(&settings, || story(&settings)).map(|()| 0)
}

fn story(settings: &Settings) -> String {
    let yes = |set: bool| if set { "yes" } else { "no" }.to_owned();
    let restart = if settings.restart_needed { "\nsome of it counts when the node starts again" } else { "" };
    let listen =
        if settings.listen.is_empty() { "all interfaces".to_owned() } else { settings.listen.join("\n") };
    let shown = fields([
        ("name", settings.name.clone()),
        ("listens on", listen),
        ("meets first", settings.bootstrap.join("\n")),
        ("looks around the local network", yes(settings.mdns)),
        ("asks the router for a port", yes(settings.upnp)),
        ("carries others' connections", yes(settings.relay)),
    ]);
    format!("{shown}{restart}")
}
