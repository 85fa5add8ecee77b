//! What this machine can tell of its owner: whether somebody is there, what power it runs on, how hot it is.
//!
//! Each [`Source`] tells some facts, or why it cannot. For each kind of reason several are tried, the best first, and
//! the one that told is named. They are looked at on a thread of their own: often while guests run, seldom otherwise,
//! and only where the owner's policy asks.

mod dbus;
mod devices;
mod heat;
mod load;
mod power;
mod pretend;
mod programs;
mod retry;
mod wayland;
mod x11;

pub use self::dbus::Bus;
pub use self::pretend::{Pretended, pretended};

use self::dbus::{Logind, Mutter, NetworkManager, UPower};
use self::devices::InputDevices;
use self::heat::Hwmon;
use self::load::ProcStat;
use self::power::PowerSupply;
use self::programs::ProcList;
use self::wayland::Wayland;
use self::x11::X11;
use model::{Presence, ReasonKind, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How often the machine is looked at while guests run: so often that a guest stands still within a second of a reason.
const CLOSELY: Duration = Duration::from_millis(400);

/// And while none does: nothing depends on it but whether something new is lent.
const AT_REST: Duration = Duration::from_secs(5);

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// The kinds of reasons to which the owner's policy answers.
    pub kinds: BTreeSet<ReasonKind>,
    /// The programs that want the machine for themselves.
    pub programs: Vec<String>,
    /// After how long without keyboard and mouse the machine counts as left alone.
    pub alone_after: Span,
    /// Whether guests run.
    pub closely: bool,
}

/// One thing that a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Whether the machine runs from its battery.
    OnBattery(bool),
    /// How full the battery is, in per cent.
    Charge(u8),
    /// How hot the hottest part is.
    Celsius(i16),
    /// Whether traffic is paid for.
    Metered(bool),
    /// Whether a program fills the screen.
    FullScreen(bool),
    /// Which of the programs that were asked about run.
    Programs(Vec<String>),
    /// For how long keyboard and mouse were left alone.
    Idle(Span),
    /// How much of all cores the owner's own programs use, in per cent.
    Busy(u8),
}

impl Fact {
    /// The kind of reason that it speaks of.
    pub fn kind(&self) -> ReasonKind {
        match self {
            Fact::OnBattery(_) => ReasonKind::OnBattery,
            Fact::Charge(_) => ReasonKind::LowCharge,
            Fact::Celsius(_) => ReasonKind::Hot,
            Fact::Metered(_) => ReasonKind::Metered,
            Fact::FullScreen(_) => ReasonKind::FullScreen,
            Fact::Programs(_) => ReasonKind::Program,
            Fact::Idle(_) => ReasonKind::InUse,
            Fact::Busy(_) => ReasonKind::Busy,
        }
    }

    fn write(self, presence: &mut Presence) {
        match self {
            Fact::OnBattery(is) => presence.on_battery = Some(is),
            Fact::Charge(percent) => presence.charge = Some(percent),
            Fact::Celsius(celsius) => presence.celsius = Some(celsius),
            Fact::Metered(is) => presence.metered = Some(is),
            Fact::FullScreen(is) => presence.full_screen = Some(is),
            Fact::Programs(names) => presence.programs = Some(names),
            Fact::Idle(idle) => presence.idle = Some(idle),
            Fact::Busy(percent) => presence.busy = Some(percent),
        }
    }
}

/// Something that tells of the owner.
pub trait Source: Send {
    /// What it is called, for people.
    fn name(&self) -> &str;

    /// The kinds of reasons of which it may tell.
    fn kinds(&self) -> &[ReasonKind];

    /// What it sees now.
    ///
    /// # Errors
    /// Why it cannot tell, in words.
    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String>;
}

/// What was seen of one kind, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// This source told.
    Told {
        /// What it is called.
        source: String,
    },
    /// None could tell; why, in words.
    Unknown {
        /// Each source that was tried, with its reason.
        why: String,
    },
}

/// What was seen at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The facts.
    pub presence: Presence,
    /// For each kind that was asked about, by whom.
    pub sights: BTreeMap<ReasonKind, Sight>,
}

/// Where the machine tells of itself. Tests have other places.
#[derive(Clone, Debug)]
pub struct Places {
    /// The kernel's devices.
    pub sys: PathBuf,
    /// The kernel's processes.
    pub proc: PathBuf,
    /// The directory of this node's guests, whose processes are not the owner's.
    pub guests: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
    /// The X11 display, as `DISPLAY` names it.
    pub display: Option<String>,
    /// The Wayland compositor's socket.
    pub wayland: Option<PathBuf>,
    /// The machine's services.
    pub system: Bus,
    /// The user's services.
    pub session: Bus,
}

impl Places {
    /// This machine's own.
    pub fn here(data: &Path) -> Places {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let runtime = || variable("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
        Places {
            sys: "/sys".into(),
            proc: "/proc".into(),
            guests: data.join("guests"),
            dev: "/dev".into(),
            display: variable("DISPLAY").and_then(|name| name.into_string().ok()),
            wayland: variable("WAYLAND_DISPLAY").map(|name| runtime().join(name)),
            system: Bus::System,
            session: Bus::Session,
        }
    }
}

/// The sources of this machine, for each kind of reason the best first.
pub fn sources(places: &Places) -> Vec<Box<dyn Source>> {
    vec![
        Box::new(Wayland::new(places.wayland.clone())),
        Box::new(Mutter::new(places.session.clone())),
        Box::new(X11::new(places.display.clone(), places.wayland.is_some())),
        Box::new(InputDevices::new(places.dev.join("input"), places.sys.join("class/input"))),
        Box::new(Logind::new(places.system.clone())),
        Box::new(UPower::new(places.system.clone())),
        Box::new(NetworkManager::new(places.system.clone())),
        Box::new(PowerSupply::new(places.sys.join("class/power_supply"))),
        Box::new(Hwmon::new(places.sys.join("class/hwmon"))),
        Box::new(ProcList::new(places.proc.clone(), places.guests.clone())),
        Box::new(ProcStat::new(places.proc.join("stat"))),
    ]
}

/// Where a node gets its sources from: from the machine, or, in tests, from elsewhere.
#[derive(Clone)]
pub struct Eyes(Arc<Open>);

type Open = dyn Fn(&Places) -> Vec<Box<dyn Source>> + Send + Sync;

impl Eyes {
    /// These sources instead of the machine's.
    pub fn new(sources: impl Fn(&Places) -> Vec<Box<dyn Source>> + Send + Sync + 'static) -> Eyes {
        Eyes(Arc::new(sources))
    }

    /// The sources.
    pub fn open(&self, places: &Places) -> Vec<Box<dyn Source>> {
        (self.0)(places)
    }
}

impl Default for Eyes {
    fn default() -> Eyes {
        Eyes::new(sources)
    }
}

impl fmt::Debug for Eyes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Eyes")
    }
}

/// Looks once, and says of each kind who told.
pub fn look(sources: &mut [Box<dyn Source>], wants: &Wants) -> Seen {
    let mut seen = Seen::default();
    let mut failed: BTreeMap<ReasonKind, Vec<String>> = BTreeMap::new();
    for source in sources {
        let open: Vec<ReasonKind> =
            source.kinds().iter().copied().filter(|kind| is_open(&seen, wants, *kind)).collect();
        if open.is_empty() {
            continue;
        }
        match source.look(wants) {
            Ok(facts) => {
                for fact in facts.into_iter().filter(|fact| open.contains(&fact.kind())) {
                    seen.sights.insert(fact.kind(), Sight::Told { source: source.name().to_owned() });
                    fact.write(&mut seen.presence);
                }
            }
            Err(why) => {
                for kind in open {
                    failed.entry(kind).or_default().push(format!("{}: {why}", source.name()));
                }
            }
        }
    }
    for kind in wants.kinds.iter().filter(|kind| **kind > ReasonKind::OutsideSchedule) {
        let why = failed.remove(kind).map_or("nothing here tells".to_owned(), |reasons| reasons.join("; "));
        seen.sights.entry(*kind).or_insert(Sight::Unknown { why });
    }
    seen
}

/// Whether a kind is asked about, and nobody better has told.
fn is_open(seen: &Seen, wants: &Wants, kind: ReasonKind) -> bool {
    wants.kinds.contains(&kind) && !seen.sights.contains_key(&kind)
}

/// Looks at the machine as long as the sender of `wants` lives, and tells what it sees: at once when something else is
/// wanted, and then again and again.
pub fn watch(
    mut sources: Vec<Box<dyn Source>>,
    wants: mpsc::Receiver<Wants>,
    mut tell: impl FnMut(Seen) -> bool + Send + 'static,
) -> std::io::Result<()> {
    thread::Builder::new().name("presence".to_owned()).spawn(move || {
        let mut wanted = Wants::default();
        loop {
            let pause = if wanted.closely { CLOSELY } else { AT_REST };
            match wants.recv_timeout(pause) {
                // Only the newest counts.
                Ok(next) => wanted = wants.try_iter().last().unwrap_or(next),
                Err(RecvTimeoutError::Timeout) if wanted.kinds.is_empty() => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if !tell(look(&mut sources, &wanted)) {
                return;
            }
        }
    })?;
    Ok(())
}

/// A file of one word or number.
fn word(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
#[path = "tests.rs"]
mod against_the_real_thing;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Wants {
        Wants { kinds: ReasonKind::ALL.into(), ..Wants::default() }
    }

    #[test]
    fn the_first_that_can_tell_is_named_and_the_others_are_not_asked() {
        let (first, mut tell_first) = pretended("first", &[ReasonKind::OnBattery, ReasonKind::InUse]);
        let (second, mut tell_second) = pretended("second", &[ReasonKind::OnBattery]);
        let mut sources: Vec<Box<dyn Source>> = vec![Box::new(first), Box::new(second)];
        tell_first.fails("it is broken");
        tell_second.tells([Fact::OnBattery(true)]);
        let seen = look(&mut sources, &all());
        assert_eq!(seen.presence.on_battery, Some(true));
        assert_eq!(seen.sights[&ReasonKind::OnBattery], Sight::Told { source: "second".to_owned() });
        let Sight::Unknown { why } = &seen.sights[&ReasonKind::InUse] else { panic!("nobody told") };
        assert_eq!(why, "first: it is broken");

        tell_first.tells([Fact::OnBattery(false), Fact::Idle(Span::ZERO)]);
        let seen = look(&mut sources, &all());
        assert_eq!((seen.presence.on_battery, seen.presence.idle), (Some(false), Some(Span::ZERO)));
        assert_eq!(tell_second.looks(), 1);
    }

    #[test]
    fn what_nobody_asks_about_is_not_looked_at() {
        let (source, mut tell) = pretended("power", &[ReasonKind::OnBattery]);
        tell.tells([Fact::OnBattery(true)]);
        let mut sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
        let wants = Wants { kinds: [ReasonKind::Hot].into(), ..Wants::default() };
        let seen = look(&mut sources, &wants);
        assert_eq!((seen.presence, tell.looks()), (Presence::default(), 0));
        assert_eq!(seen.sights[&ReasonKind::Hot], Sight::Unknown { why: "nothing here tells".to_owned() });
    }

    #[test]
    fn a_change_of_what_is_wanted_is_looked_at_at_once_and_the_end_is_the_end() {
        let (source, mut tell) = pretended("power", &[ReasonKind::OnBattery]);
        tell.tells([Fact::OnBattery(true)]);
        let (want, wants) = mpsc::channel();
        let (saw, seen) = mpsc::channel();
        watch(vec![Box::new(source)], wants, move |seen| saw.send(seen).is_ok()).unwrap();
        want.send(all()).unwrap();
        let first = seen.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(first.presence.on_battery, Some(true));
        drop(want);
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Err(RecvTimeoutError::Disconnected));
    }
}
