//! `sublet selftest`: whether this computer's sandbox holds.

use crate::Done;
use crate::desk::Desk;
use crate::fail::{INTERRUPTED, REFUSED};
use crate::interrupt::Interrupt;
use crate::show::{Table, bar, fields, time};
use api::shapes::{Isolation, Probe};
use clap::{Args, Subcommand};

/// What to test.
#[derive(Debug, Args)]
pub struct SelftestArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run a hostile guest on this computer: it tries to get out, to look out, and to take more than it was given. The outcome
    /// stands in the offer.
    Isolation,
}

/// About as many probes as there are.
const PROBES: u64 = 139;

/// Tests, unless it is interrupted.
pub async fn run(desk: &Desk<'_>, args: SelftestArgs) -> Done {
    let What::Isolation = args.what;
    let bar = bar(PROBES);
    let mut interrupt = Interrupt::listen()?;
    let testing = desk.client.isolation().await?;
    let tested = testing.done(|probe: Probe| {
        bar.inc(1);
        bar.set_message(probe.probe);
    });
    let tested = tokio::select! {
        tested = tested => tested?,
        () = interrupt.asked() => {
            bar.finish_and_clear();
            desk.out.note("cancelled");
            return Ok(INTERRUPTED);
        }
    };
    bar.finish_and_clear();
    desk.out.either(&tested, || story(&tested))?;
    Ok(if tested.failed == 0 { 0 } else { REFUSED })
}

fn story(tested: &Isolation) -> String {
    let mut table = Table::new(&["GOT THROUGH", "WHAT IT SAW"]);
    for probe in tested.probes.iter().filter(|probe| !probe.held) {
        table.row([probe.probe.clone(), probe.found.clone()]);
    }
    let ids = if tested.root { "each guest has user ids of its own" } else { "guests share their user ids" };
    let facts = fields([
        ("held", format!("{} of {} probes", tested.passed, tested.probes.len())),
        ("sandbox", format!("{}; {ids}", tested.runtime)),
        ("tested in", time(tested.took)),
    ]);
    if tested.failed == 0 { facts } else { format!("{}\n\n{facts}", table.text(str::to_owned)) }
}
