//! `sublet host`: a node in the foreground.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{Failure, INTERRUPTED};
use crate::interrupt::Interrupt;
use api::node::machine::guest::Runtime;
use api::node::net::Net;
use api::node::store::StoreError;
use api::node::{Config, Fault, Settings, start};
use api::{Doors, ServeError, Serving, serve_at, token_path};
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;

/// How long the node may take to end.
const STOP_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// How to run a node.
#[derive(Args, Debug)]
pub struct HostArgs {
    /// What you call yourself; everybody sees it. This and what follows is for this run; `sublet settings` is for all.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where to listen for peers, as a multiaddress; may be given several times [default: all interfaces, free ports].
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// A peer to meet first, as a multiaddress with its /p2p/ id; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    bootstrap: Vec<String>,
    /// Do not look for peers on the local network.
    #[arg(long)]
    no_mdns: bool,
    /// Ask the router for a port, so that peers on the internet can call.
    #[arg(long)]
    upnp: bool,
    /// Carry the connections of peers that cannot be called.
    #[arg(long)]
    relay: bool,
    /// What runs guests [default: the best that is installed].
    #[arg(long, value_name = "crun|runc|runsc|podman|docker|unix:///PATH", value_parser = Runtime::chosen)]
    runtime: Option<Runtime>,
    /// The port of the API, on 127.0.0.1; 0 takes a free one [default: 7391, or a free one].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Show the pages to browsers of this computer, by a link that is printed.
    #[arg(long)]
    dashboard: bool,
    /// Show the pages to browsers of the local network, by TLS and the passphrase of `sublet dashboard passphrase`.
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = "0.0.0.0:7392")]
    lan: Option<SocketAddr>,
}

/// Runs a node until it is told to stop.
pub async fn run(desk: &Desk<'_>, args: HostArgs) -> Done {
    let mut interrupt = Interrupt::listen()?;
    let set = Settings::load(&desk.data).map_err(|error| {
        Failure::fault(format!("the settings in {} cannot be read: {error}", desk.data.display()))
            .hint("Mend or remove the file settings.json there.")
    })?;
    let listed = |given: Vec<String>, set: Vec<String>| if given.is_empty() { set } else { given };
    let settings = Settings {
        name: args.name.unwrap_or(set.name),
        listen: listed(args.listen, set.listen),
        bootstrap: listed(args.bootstrap, set.bootstrap),
        mdns: set.mdns && !args.no_mdns,
        upnp: set.upnp || args.upnp,
        relay: set.relay || args.relay,
        ..set
    };
    let doors = Doors { port: args.port, dashboard: args.dashboard || args.lan.is_some(), lan: args.lan };
    let config = Config { runtime: args.runtime, ..Config::with(settings, desk.data.clone()) };
    let node = start(config).await.map_err(not_started)?;
    let serving = serve_at(node.clone(), &desk.data, doors).await.map_err(not_served)?;
    tell(desk, &node, &serving).await?;
    tokio::select! {
        () = serving.closed() => {}
        () = interrupt.asked() => desk.out.note("stopping; Ctrl-C once more stops at once"),
    }
    // Whoever asks twice means it.
    tokio::spawn(async move {
        interrupt.asked().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    let ending = async {
        serving.stop().await;
        node.shut_down().await;
    };
    if tokio::time::timeout(STOP_WITHIN, ending).await.is_err() {
        // The record is whole at any moment, and guests are their supervisors': nothing is lost by not waiting.
        desk.out.note("the node did not end in time, and is left");
    }
    Ok(0)
}

async fn tell(desk: &Desk<'_>, node: &api::node::NodeHandle, serving: &Serving) -> Result<(), Failure> {
    let (identity, addresses) = (node.identity(), node.net().addresses().await);
    let peer_id = Net::peer_id(identity.peer());
    let device = identity.party().device.to_string();
    if desk.out.is_json() {
        let address = format!("http://{}", serving.address);
        return desk.out.json(&json!({ "ready": true, "device": device, "peer_id": peer_id, "api": address, "addresses": addresses, "pid": std::process::id() }));
    }
    desk.out.line(format!("node {} runs in {}", identity.party().device.short(), desk.data.display()))?;
    desk.out.line(format!(
        "API at http://{}, token in {}",
        serving.address,
        token_path(&desk.data).display()
    ))?;
    if let Some(link) = serving.dashboard().link() {
        desk.out.line(format!("pages at {link} (once, within ten minutes; then: sublet dashboard)"))?;
    }
    if let Some(lan) = serving.dashboard().lan() {
        desk.out.line(format!("pages for the local network at https://{}/", lan.address))?;
        desk.out.line(format!("by the certificate {}", lan.fingerprint))?;
        desk.out.note("nobody is let in before there is a passphrase: `sublet dashboard passphrase`");
    }
    for address in addresses {
        // As it is given to --bootstrap and to `sublet peers add`.
        let whole = if address.contains("/p2p/") { address } else { format!("{address}/p2p/{peer_id}") };
        desk.out.line(format!("reached at {whole}"))?;
    }
    if Runtime::find().is_none() {
        desk.out
            .note("this computer cannot lend: neither an OCI runtime nor a container engine is here; `sublet doctor` says what to do");
    }
    Ok(())
}

fn not_started(fault: Fault) -> Failure {
    let sentence = fault.to_string();
    match fault {
        Fault::Store(StoreError::InUse { .. }) => Failure::refused("in_use", sentence).hint(
            "Other commands talk to the node that runs: `sublet status`. For a second node: --data DIR.",
        ),
        Fault::Store(StoreError::Newer { .. }) => Failure::refused("newer_data", sentence),
        Fault::Net(error @ api::node::net::NetError::Address { .. }) => Failure::misused(error.to_string()),
        Fault::Net(error @ api::node::net::NetError::Listen { .. }) => {
            Failure::refused("port_taken", error.to_string()).hint("Choose another --listen address.")
        }
        Fault::Store(_)
        | Fault::Key { .. }
        | Fault::Net(_)
        | Fault::Image(_)
        | Fault::Volume(_)
        | Fault::Guest(_)
        | Fault::Random(_)
        | Fault::Presence(_)
        | Fault::Stopped
        | Fault::Measure(_) => Failure::fault(sentence).hint("`sublet doctor` tells what works."),
    }
}

fn not_served(error: ServeError) -> Failure {
    match error {
        ServeError::Port { .. } => Failure::refused("port_taken", error.to_string())
            .hint("Choose another --port, or none for a free one."),
        ServeError::File { .. } => Failure::fault(error.to_string()),
    }
}
