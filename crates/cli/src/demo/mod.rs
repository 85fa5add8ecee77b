//! `sublet demo`: the whole walk between two nodes, with no part pretended.
//!
//! Two nodes run as two processes, each with a data directory of its own, and meet over libp2p on the loopback. The host
//! measures itself and publishes an offer; the tenant finds it, leases, and runs a guest that traces a picture. The
//! picture comes out through a port of the tenant's own computer. Both sign, both book, both judge; what one node
//! holds is compared with what the other does.

mod facts;
mod house;
mod story;
mod walk;
mod web;

use crate::Done;
use crate::desk::Out;
use crate::fail::Failure;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

use facts::Facts;
use house::House;
use story::Story;

/// What the demo can be told.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// The guest program, built as a static binary; looked for beside this program otherwise
    #[arg(long, env = "SUBLET_DEMO_GUEST", value_name = "FILE")]
    guest: Option<PathBuf>,
    /// Keep both nodes' data directories here, to be looked at afterwards
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Tells the story as it happens, or with `--json` the facts in one line. Leaves with 0 only if all of it held.
pub async fn run(args: &DemoArgs, out: &Out) -> Done {
    let facts = match shown(args, out).await {
        Ok(facts) => facts,
        Err(error) => {
            if out.is_json() {
                out.json(&serde_json::json!({ "ok": false, "error": format!("{error:#}") }))?;
            }
            return Err(Failure::fault(format!("{error:#}")));
        }
    };
    out.either(&facts, || facts.to_string())?;
    Ok(if facts.ok { 0 } else { crate::fail::REFUSED })
}

async fn shown(args: &DemoArgs, out: &Out) -> Result<Facts> {
    let guest = guest_program(args.guest.as_deref())?;
    let mut house = House::build(args.keep.as_deref())?;
    let story = Story::new(out);
    let walked = tokio::select! {
        walked = walk::walk(&mut house, &guest, &story) => walked,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    house.clear().await;
    walked.map_err(|error| error.context(house.last_words()))
}

/// The guest program: as given, or beside this one, where `cargo xtask` and the packages put it.
fn guest_program(given: Option<&Path>) -> Result<PathBuf> {
    const NAME: &str = "sublet-render";
    let me = std::env::current_exe().context("find this program on disk")?;
    let beside =
        me.parent().into_iter().flat_map(|dir| [dir.join(NAME), dir.join("../lib/sublet").join(NAME)]);
    let found = given.map(Path::to_owned).into_iter().chain(beside).find(|path| path.is_file());
    let found = found.with_context(|| {
        format!(
            "the guest program {NAME} is not there; `cargo xtask demo` builds it, and --guest FILE names it"
        )
    })?;
    let header = std::fs::read(&found).with_context(|| format!("read {}", found.display()))?;
    ensure!(header.starts_with(b"\x7fELF"), "{} is no program for Linux", found.display());
    Ok(found)
}
