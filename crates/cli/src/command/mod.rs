//! The commands, one file for each subject.

pub mod bench;
pub mod completions;
pub mod copy;
pub mod dashboard;
pub mod diagnostics;
pub mod doctor;
pub mod exec;
pub mod health;
pub mod host;
pub mod identity;
pub mod image;
pub mod inspect;
pub mod lease;
pub mod ledger;
pub mod man;
pub mod market;
pub mod offer;
pub mod owner;
pub mod peers;
pub mod people;
pub mod power;
pub mod ps;
pub mod reputation;
pub mod run;
pub mod run_options;
pub mod secret;
pub mod selftest;
pub mod settings;
pub mod settle;
pub mod statement;
pub mod stats;
pub mod status;
pub mod update;
pub mod verify;
pub mod volume;
pub mod why;

use crate::args::{Cli, Command};
use crate::desk::{Desk, Out};
use crate::fail::Failure;
use crate::{Done, demo};
use api::Client;
use std::path::PathBuf;

/// Does what was typed.
pub async fn run(cli: Cli, out: &Out) -> Done {
    let is_host = matches!(cli.command, Command::Host(_));
    api::begin_telling(if is_host { api::OF_A_NODE } else { "warn" });
    let data = match cli.data {
        Some(data) => data,
        None => usual_data()?,
    };
    // The node and its clients may be started in different places.
    let data = std::path::absolute(data)?;
    let desk = Desk { client: Client::of(&data), data, out };
    match cli.command {
        Command::Host(args) => host::run(&desk, args).await,
        Command::Bench(args) => bench::run(&desk, &args).await,
        Command::Selftest(args) => selftest::run(&desk, args).await,
        Command::Offer(args) => offer::run(&desk, args).await,
        Command::Pause(args) => owner::pause(&desk, args).await,
        Command::Resume => owner::resume(&desk).await,
        Command::Policy(args) => owner::policy(&desk, args).await,
        Command::Power(args) => power::run(&desk, args).await,
        Command::Why(args) => why::run(&desk, args).await,
        Command::Market(args) => market::run(&desk, args).await,
        Command::Run(args) => run::run(&desk, args).await,
        Command::Ps(args) => ps::ps(&desk, &args).await,
        Command::Logs(args) => lease::logs(&desk, &args).await,
        Command::Stats(args) => stats::stats(&desk, &args).await,
        Command::Top(args) => stats::top(&desk, &args).await,
        Command::Exec(args) => exec::exec(&desk, args).await,
        Command::Cp(args) => copy::run(&desk, args).await,
        Command::Attach(args) => exec::attach(&desk, &args).await,
        Command::Wait(args) => lease::wait(&desk, &args).await,
        Command::Inspect(args) => inspect::run(&desk, &args).await,
        Command::Stop(args) => lease::stop(&desk, &args).await,
        Command::Renew(args) => lease::renew(&desk, &args).await,
        Command::Renewals => lease::renewals(&desk).await,
        Command::Port(args) => lease::port(&desk, &args).await,
        Command::Rate(args) => lease::rate(&desk, args).await,
        Command::Pack(args) => lease::pack(&desk, &args).await,
        Command::Image(args) => image::run(&desk, args).await,
        Command::Volume(args) => volume::run(&desk, args).await,
        Command::Ledger(args) => ledger::run(&desk, &args).await,
        Command::Reputation(args) => reputation::run(&desk, &args).await,
        Command::Settle(args) => settle::run(&desk, args).await,
        Command::People(args) => people::run(&desk, args).await,
        Command::Invite(args) => people::invite(&desk, args).await,
        Command::Join(args) => people::join(&desk, &args).await,
        Command::Peers(args) => peers::run(&desk, args).await,
        Command::Dashboard(args) => dashboard::run(&desk, args).await,
        Command::Identity(args) => identity::run(&desk, args).await,
        Command::Settings(args) => settings::run(&desk, args).await,
        Command::Status => status::run(&desk).await,
        Command::Update(args) => update::run(&desk, args).await,
        Command::Verify(args) => verify::run(&desk, &args).await,
        Command::Diagnostics(args) => diagnostics::run(&desk, &args).await,
        Command::Doctor => doctor::run(out),
        Command::Demo(args) => demo::run(&args, out).await,
        Command::Completions(args) => completions::run(&args, out),
        Command::Man(args) => man::run(&desk, &args),
    }
}

/// Where the XDG base directory specification puts a user's data.
fn usual_data() -> Result<PathBuf, Failure> {
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")));
    base.map(|base| base.join("sublet")).ok_or_else(|| {
        Failure::misused("this user has no home directory").hint("Name a data directory: --data DIR.")
    })
}
