//! `sublet people`, `sublet invite`, `sublet join`: whom the owner knows, and how they come to be known.

use crate::Done;
use crate::desk::Desk;
use crate::parse;
use crate::show::{Table, fields, per_cent, short};
use api::shapes::{Accepted, AcceptedState, Invite, InviteWish, Invites, Person, Regard, Regarding, Seconds};
use clap::{Args, Subcommand};
use serde_json::json;

/// What to do about people.
#[derive(Args, Debug)]
pub struct PeopleArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List everyone of whom something is known.
    List,
    /// Show one person.
    Show {
        /// Their name, or the first digits of their key.
        person: String,
    },
    /// Know somebody: what you lend to people you know is for them.
    Know(RegardArgs),
    /// Make no new deals with somebody, and do not look at what they lend. Leases that run go on.
    Block(RegardArgs),
    /// Forget what you make of somebody: they are a stranger then. Leases and debts stay.
    Forget {
        /// Their name, or the first digits of their key.
        person: String,
    },
}

#[derive(Args, Debug)]
struct RegardArgs {
    /// Their name, or the first digits of their key; a stranger's whole key.
    person: String,
    /// What to call them.
    #[arg(long)]
    name: Option<String>,
    /// What to remember of them.
    #[arg(long)]
    note: Option<String>,
}

/// Lists, shows, knows, blocks, forgets.
pub async fn run(desk: &Desk<'_>, args: PeopleArgs) -> Done {
    let person = match args.what.unwrap_or(What::List) {
        What::List => {
            let people = desk.client.people().await?;
            return desk.out.either(&people, || list(desk, &people.people)).map(|()| 0);
        }
        What::Show { person } => desk.client.person(&person).await?,
        What::Know(args) => regard(desk, args, Regard::Known).await?,
        What::Block(args) => regard(desk, args, Regard::Blocked).await?,
        What::Forget { person } => desk.client.forget(&person).await?,
    };
    desk.out.either(&person, || story(&person)).map(|()| 0)
}

async fn regard(desk: &Desk<'_>, args: RegardArgs, regard: Regard) -> Result<Person, crate::fail::Failure> {
    let wish = Regarding { regard, name: args.name, note: args.note };
    Ok(desk.client.regard(&args.person, &wish).await?)
}

fn list(desk: &Desk<'_>, people: &[Person]) -> String {
    if people.is_empty() {
        return "nobody is known yet: `sublet invite` makes an invite for a friend".to_owned();
    }
    let mut table = Table::new(&["PERSON", "NAME", "REGARD", ">TRUST", ">LEASES", ">OWES", "DEVICES"]);
    for person in people {
        table.row([
            short(&person.person),
            person.name.clone().unwrap_or_default(),
            regarded(person).to_owned(),
            if person.cheated { "cheated".to_owned() } else { per_cent(person.trust) },
            person.leases.to_string(),
            debts(person),
            devices(person),
        ]);
    }
    table.text(|head| desk.out.head(head))
}

fn regarded(person: &Person) -> &'static str {
    match person.regard {
        Some(Regard::Known) => "known",
        Some(Regard::Blocked) => "blocked",
        None => "",
    }
}

fn debts(person: &Person) -> String {
    let owed = person.balances.iter().filter(|balance| balance.micros != 0);
    owed.map(|balance| balance.text.clone()).collect::<Vec<_>>().join(", ")
}

fn devices(person: &Person) -> String {
    let devices = person.devices.iter().map(|device| {
        let here = if device.connected { "connected" } else { "away" };
        format!("{} ({here}{})", device.label, if device.offers { ", lends" } else { "" })
    });
    devices.collect::<Vec<_>>().join(", ")
}

fn story(person: &Person) -> String {
    fields([
        ("person", person.person.clone()),
        ("name", person.name.clone().unwrap_or_default()),
        ("calls themselves", person.calls_themselves.clone().unwrap_or_default()),
        ("regard", person.regard.map_or("a stranger", |_| regarded(person)).to_owned()),
        ("note", person.note.clone()),
        ("trust", if person.cheated { "cheated".to_owned() } else { per_cent(person.trust) }),
        ("leases", format!("{}, of which {} were broken by them", person.leases, person.broken)),
        ("owes", debts(person)),
        ("devices", devices(person)),
    ])
}

/// What to do about invites.
#[derive(Args, Debug)]
pub struct InviteArgs {
    #[command(subcommand)]
    what: Option<InviteWhat>,
    /// For how long it stands, 30 days at the most.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse::time)]
    time: Seconds,
    /// How many people may answer it.
    #[arg(long, value_name = "N", default_value = "1")]
    uses: u32,
    /// Print the link alone, without its picture.
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Subcommand)]
enum InviteWhat {
    /// List invites that stand, and those of others that were accepted lately.
    List,
    /// Take an invite back.
    Withdraw {
        /// The first digits of its id.
        id: String,
    },
}

/// Makes, lists or takes back invites.
pub async fn invite(desk: &Desk<'_>, args: InviteArgs) -> Done {
    match args.what {
        None => {
            let wish = InviteWish { stands: args.time, uses: args.uses };
            let invite = desk.client.invite(&wish).await?;
            desk.out.either(&invite, || handed_over(&invite, args.plain)).map(|()| 0)
        }
        Some(InviteWhat::List) => {
            let invites = desk.client.invites().await?;
            desk.out.either(&invites, || invite_list(desk, &invites)).map(|()| 0)
        }
        Some(InviteWhat::Withdraw { id }) => {
            desk.client.withdraw(&id).await?;
            desk.out.either(&json!({ "withdrawn": id }), || "withdrawn".to_owned()).map(|()| 0)
        }
    }
}

fn handed_over(invite: &Invite, plain: bool) -> String {
    if plain {
        return invite.link.clone();
    }
    let until = humantime(&invite.expires);
    format!(
        "{}\n{}\n\nHand this over to somebody you know, and to nobody else; they type: sublet join LINK\nGood until {until}.",
        picture(&invite.picture),
        invite.link
    )
}

fn humantime(at: &api::shapes::Moment) -> String {
    // As JSON has it, without the fraction of a second.
    let text =
        serde_json::to_value(at).ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default();
    text.split('.').next().unwrap_or_default().replace('T', " ") + " UTC"
}

/// A QR code for a terminal: two rows of it in a line, dark on light whatever the terminal's colours, with a quiet zone.
fn picture(rows: &[String]) -> String {
    const QUIET: usize = 2;
    let width = rows.len() + 2 * QUIET;
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < rows.len());
        let (Some(x), Some(y)) = (inside(x), inside(y)) else { return false };
        rows.get(y).and_then(|row| row.as_bytes().get(x)).is_some_and(|module| *module == b'1')
    };
    let line = |y: usize| {
        let cells = (0..width).map(|x| match (dark(x, y), dark(x, y + 1)) {
            (false, false) => '█',
            (false, true) => '▀',
            (true, false) => '▄',
            (true, true) => ' ',
        });
        cells.collect::<String>()
    };
    (0..width).step_by(2).map(line).collect::<Vec<_>>().join("\n")
}

fn invite_list(desk: &Desk<'_>, invites: &Invites) -> String {
    if invites.invites.is_empty() && invites.accepted.is_empty() {
        return "no invite stands".to_owned();
    }
    let mut table = Table::new(&["INVITE", "WHOSE", "STATE"]);
    for invite in &invites.invites {
        let state =
            format!("{} of {} answered, until {}", invite.used, invite.uses, humantime(&invite.expires));
        table.row([short(&invite.id), "yours".to_owned(), state]);
    }
    for accepted in &invites.accepted {
        table.row([short(&accepted.id), accepted.name.clone(), became(accepted)]);
    }
    table.text(|head| desk.out.head(head))
}

fn became(accepted: &Accepted) -> String {
    match accepted.state {
        AcceptedState::Waiting => "they were not reached yet".to_owned(),
        AcceptedState::Heard => "they know you now".to_owned(),
        AcceptedState::Refused => accepted.why.clone().unwrap_or_default(),
    }
}

/// An invite to accept.
#[derive(Args, Debug)]
pub struct JoinArgs {
    /// The link, as it came.
    link: String,
}

/// Accepts the invite of another.
pub async fn join(desk: &Desk<'_>, args: &JoinArgs) -> Done {
    let person = desk.client.join(&args.link).await?;
    desk.out
        .either(&person, || {
            let name = person.name.clone().unwrap_or_else(|| short(&person.person));
            format!("{name} is known here now, and will know you as soon as they are reached")
        })
        .map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_dark_on_light_with_a_quiet_zone() {
        let rows = ["11".to_owned(), "01".to_owned()];
        assert_eq!(picture(&rows), "██████\n██▄ ██\n██████");
    }
}
