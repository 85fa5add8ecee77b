//! What can be typed.

use crate::command::{
    bench, completions, copy, dashboard, diagnostics, exec, host, identity, image, inspect, lease, ledger,
    man, market, offer, owner, peers, people, power, ps, reputation, run, selftest, settings, settle, stats,
    update, verify, volume, why,
};
use crate::demo::DemoArgs;
use crate::parse;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Share, barter and rent the spare capacity of computers.
#[derive(Debug, Parser)]
#[command(
    name = "sublet",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done, 1 refused, 2 misused, 3 fault; `sublet run` passes on the guest's own."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print JSON: one document, or one in each line where more follow.
    #[arg(long, global = true)]
    pub json: bool,
    /// The data directory of the node [default: sublet in the user's data directory].
    #[arg(long, global = true, value_name = "DIR", env = "SUBLET_DATA")]
    pub data: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a life")]
pub enum Command {
    /// Run a node in the foreground: lend, and let the other commands rent.
    Host(host::HostArgs),
    /// Measure this computer: it takes 20 seconds.
    Bench(bench::BenchArgs),
    /// Test this computer: whether its sandbox holds.
    Selftest(selftest::SelftestArgs),
    /// Show, set or take back what this computer lends.
    Offer(offer::OfferArgs),
    /// Pause lending: guests stand still within a second.
    Pause(owner::PauseArgs),
    /// End a pause.
    Resume,
    /// Show or set what comes first on this machine: battery, keyboard, hours of the week.
    Policy(owner::PolicyArgs),
    /// Show or say what electricity costs, so that earnings are shown net of it.
    Power(power::PowerArgs),
    /// Say why no work comes: what was wanted, and what stood in the way.
    Why(why::WhyArgs),
    /// Look at what others lend.
    Market(market::MarketArgs),
    /// Rent a place for an image, run it there, and follow its output.
    Run(run::RunArgs),
    /// List leases: on other machines, and of others on this one.
    Ps(ps::PsArgs),
    /// Print what a guest has printed.
    Logs(lease::LogsArgs),
    /// Show what guests take: processor, memory, disk, network.
    Stats(stats::StatsArgs),
    /// List the processes of a guest.
    Top(stats::TopArgs),
    /// Run another program in a guest.
    Exec(exec::ExecArgs),
    /// Speak to the program of a guest, and follow its output.
    Attach(exec::AttachArgs),
    /// Copy files into a guest that runs, or out of it.
    Cp(copy::CpArgs),
    /// Wait until guests end, and print their exit codes.
    Wait(lease::WaitArgs),
    /// Print the whole of a lease, an offer, an image or a volume, as JSON.
    Inspect(inspect::InspectArgs),
    /// End leases.
    Stop(lease::StopArgs),
    /// Ask for more time, or answer a tenant who does.
    Renew(lease::RenewArgs),
    /// List tenants who wait for the owner's answer to more time.
    Renewals,
    /// Let a port of this computer lead into a guest: connections, or datagrams with /udp.
    #[command(visible_alias = "port-forward")]
    Port(lease::PortArgs),
    /// Judge the other party of a lease that has ended.
    Rate(lease::RateArgs),
    /// Write everything signed that belongs to a lease into a file.
    Pack(lease::PackArgs),
    /// List, fetch, make and remove images.
    Image(image::ImageArgs),
    /// List, show, copy and remove disks that outlive their guests.
    Volume(volume::VolumeArgs),
    /// Show who owes whom.
    Ledger(ledger::LedgerArgs),
    /// Say what you have paid, and what has come.
    Settle(settle::SettleArgs),
    /// Show what this node makes of others.
    Reputation(reputation::ReputationArgs),
    /// Show whom you know, and decide whom to deal with.
    People(people::PeopleArgs),
    /// Invite somebody you know: prints a link to hand over.
    Invite(people::InviteArgs),
    /// Accept an invite.
    Join(people::JoinArgs),
    /// Show who is connected, and meet others.
    Peers(peers::PeersArgs),
    /// See the pages in a browser.
    Dashboard(dashboard::DashboardArgs),
    /// Show who you are; write down, lock, move your key.
    Identity(identity::IdentityArgs),
    /// Show or change how this node runs.
    Settings(settings::SettingsArgs),
    /// Show who this node is, and how it goes.
    Status,
    /// Verify a release of Sublet, and fetch it when this computer's turn has come.
    Update(update::UpdateArgs),
    /// Check a dispute pack, or this node's own record.
    Verify(verify::VerifyArgs),
    /// Say what works on this computer, what does not, and what mends it.
    Doctor,
    /// Write down how this node goes, for somebody who is to find out what goes wrong. No key, secret or address is in it.
    Diagnostics(diagnostics::DiagnosticsArgs),
    /// Show it all on this computer: two nodes, one lease.
    Demo(DemoArgs),
    /// Print completions for a shell.
    Completions(completions::CompletionsArgs),
    /// Write the manual's pages into a folder.
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// How much of a machine.
#[derive(Args, Clone, Copy, Debug)]
pub struct Size {
    /// Logical cores, such as 0.5.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse::cpus)]
    pub cpus: u32,
    /// Memory, such as 512M or 2G.
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse::size)]
    pub memory: u64,
    /// Disk that the guest may write.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse::size)]
    pub disk: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_this() {
        let help = Cli::command().term_width(100).render_help().to_string();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help.txt");
        if std::env::var_os("SUBLET_REWRITE").is_some() {
            std::fs::write(&path, &help).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(help, kept, "SUBLET_REWRITE=1 writes it anew");
    }
}
