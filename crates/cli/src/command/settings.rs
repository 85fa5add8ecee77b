//! `sublet settings`: how this node runs.

use crate::Done;
use crate::desk::Desk;
use crate::fail::Failure;
use crate::show::fields;
use api::node::model::DeviceId;
use api::shapes::{Notice, Settings, SettingsWish};
use clap::{Args, Subcommand};
use serde_json::{Value, from_value, to_value};
use std::collections::BTreeSet;

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
    /// Where releases of Sublet are, to be looked for every six hours: a file, or an https:// address; an empty one: nowhere.
    #[arg(long, value_name = "FILE|URL")]
    releases: Option<String>,
    /// Take releases by this key, rather than by those that this program was built with; may be given several times; an empty
    /// one: by those again.
    #[arg(long, value_name = "KEY")]
    release_key: Option<Vec<String>>,
    /// Whether to take previews too.
    #[arg(long, value_name = "YES")]
    previews: Option<bool>,
    /// Of what the desktop app does not tell you outside of its window: guest_arrived, guest_paused, lease_ending, guest_unwell,
    /// paid, score_falling, unreachable, disk_low, update; may be given several times; an empty one: it tells of all. Counts at
    /// once.
    #[arg(long, value_name = "KIND")]
    silent: Option<Vec<String>>,
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
                releases: args.releases,
                release_keys: args.release_key.map(keys).transpose()?,
                previews: args.previews,
                silent: args.silent.map(kinds).transpose()?,
            };
            desk.client.set_settings(&wish).await?
        }
    };
    desk.out.either(&settings, || story(&settings)).map(|()| 0)
}

fn kinds(names: Vec<String>) -> Result<BTreeSet<Notice>, Failure> {
    let kind = |name: String| {
        from_value(Value::String(name.replace('-', "_"))).map_err(|error| Failure::misused(error.to_string()))
    };
    names.into_iter().filter(|name| !name.is_empty()).map(kind).collect()
}

fn keys(names: Vec<String>) -> Result<Vec<DeviceId>, Failure> {
    let key = |name: String| name.parse().map_err(|error| Failure::misused(format!("`{name}`: {error}")));
    names.into_iter().filter(|name| !name.is_empty()).map(key).collect()
}

/// As it is written when it is set.
fn name(kind: &Notice) -> String {
    to_value(kind).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

fn story(settings: &Settings) -> String {
    let yes = |set: bool| if set { "yes" } else { "no" }.to_owned();
    let restart = if settings.restart_needed { "\nsome of it counts when the node starts again" } else { "" };
    let listen =
        if settings.listen.is_empty() { "all interfaces".to_owned() } else { settings.listen.join("\n") };
    let silent: Vec<String> = settings.silent.iter().map(name).collect();
    let told = match silent.as_slice() {
        [] => "all that matters".to_owned(),
        silent => format!("all that matters, but {}", silent.join(", ")),
    };
    let shown = fields([
        ("name", settings.name.clone()),
        ("listens on", listen),
        ("meets first", settings.bootstrap.join("\n")),
        ("looks around the local network", yes(settings.mdns)),
        ("asks the router for a port", yes(settings.upnp)),
        ("carries others' connections", yes(settings.relay)),
        ("looks for releases at", settings.releases.clone()),
        ("takes them by", settings.release_keys.iter().map(DeviceId::short).collect::<Vec<_>>().join("\n")),
        ("takes previews", yes(settings.previews)),
        ("the desktop app tells of", told),
    ]);
    format!("{shown}{restart}")
}
