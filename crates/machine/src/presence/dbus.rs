//! What services tell over D-Bus: UPower of power, NetworkManager of the network, logind and GNOME of keyboard and
//! mouse, logind of programs that keep the screen on.
//!
//! Properties are read once and then kept up to date by signals, so that a look costs nothing.

use super::retry::Retry;
use super::{Fact, Source, Wants};
use model::{ReasonKind, Span};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zbus::blocking::connection::Builder;
use zbus::blocking::{Connection, Proxy};

/// A service is not waited for longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Which bus.
#[derive(Clone, Debug)]
pub enum Bus {
    /// The machine's.
    System,
    /// The user's.
    Session,
    /// At this address.
    At(String),
}

impl Bus {
    fn open(&self) -> Result<Connection, String> {
        let builder = match self {
            Bus::System => Builder::system(),
            Bus::Session => Builder::session(),
            Bus::At(address) => Builder::address(address.as_str()),
        };
        let connected = builder.and_then(|builder| builder.method_timeout(ANSWERS_WITHIN).build());
        connected.map_err(|error| format!("there is no such bus here ({error})"))
    }

    fn proxy(
        &self,
        name: &'static str,
        path: &'static str,
        interface: &'static str,
    ) -> Result<Proxy<'static>, String> {
        let connection = self.open()?;
        Proxy::new(&connection, name, path, interface).map_err(in_words)
    }
}

/// Without the long names: people read this.
#[expect(clippy::wildcard_enum_match_arm, reason = "it is another's list, and long")]
fn in_words(error: zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, detail, _) if name.ends_with(".ServiceUnknown") => {
            tracing::debug!(?detail, "not on the bus");
            "it does not run here".to_owned()
        }
        zbus::Error::MethodError(_, Some(detail), _) => detail,
        error => error.to_string(),
    }
}

/// UPower: power and charge.
pub struct UPower {
    bus: Bus,
    line: Retry<(Proxy<'static>, Proxy<'static>)>,
}

impl UPower {
    /// On this bus.
    pub fn new(bus: Bus) -> UPower {
        UPower { bus, line: Retry::default() }
    }
}

impl Source for UPower {
    fn name(&self) -> &str {
        "UPower"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::OnBattery, ReasonKind::LowCharge]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        const NAME: &str = "org.freedesktop.UPower";
        let bus = self.bus.clone();
        let open = || {
            let connection = bus.open()?;
            let power = Proxy::new(&connection, NAME, "/org/freedesktop/UPower", NAME).map_err(in_words)?;
            let path = "/org/freedesktop/UPower/devices/DisplayDevice";
            let all =
                Proxy::new(&connection, NAME, path, "org.freedesktop.UPower.Device").map_err(in_words)?;
            Ok((power, all))
        };
        self.line.with(open, |(power, all)| {
            let mut facts = vec![Fact::OnBattery(power.get_property("OnBattery").map_err(in_words)?)];
            let has_battery = all.get_property::<bool>("IsPresent").unwrap_or(false);
            let percent =
                all.get_property::<f64>("Percentage").ok().filter(|percent| (0.0..=100.0).contains(percent));
            facts.extend(percent.filter(|_| has_battery).map(|percent| Fact::Charge(percent.round() as u8)));
            Ok(facts)
        })
    }
}

/// NetworkManager: whether traffic is paid for.
pub struct NetworkManager {
    bus: Bus,
    line: Retry<Proxy<'static>>,
}

impl NetworkManager {
    /// On this bus.
    pub fn new(bus: Bus) -> NetworkManager {
        NetworkManager { bus, line: Retry::default() }
    }
}

impl Source for NetworkManager {
    fn name(&self) -> &str {
        "NetworkManager"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::Metered]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        const NAME: &str = "org.freedesktop.NetworkManager";
        let bus = self.bus.clone();
        self.line.with(
            || bus.proxy(NAME, "/org/freedesktop/NetworkManager", NAME),
            |network| match network.get_property::<u32>("Metered").map_err(in_words)? {
                // Yes, and probably.
                1 | 3 => Ok(vec![Fact::Metered(true)]),
                2 | 4 => Ok(vec![Fact::Metered(false)]),
                _ => Err("it does not know whether the connection is metered".to_owned()),
            },
        )
    }
}

/// GNOME's compositor: keyboard and mouse, where it does not know the common protocol.
pub struct Mutter {
    bus: Bus,
    line: Retry<Proxy<'static>>,
}

impl Mutter {
    /// On this bus.
    pub fn new(bus: Bus) -> Mutter {
        Mutter { bus, line: Retry::default() }
    }
}

impl Source for Mutter {
    fn name(&self) -> &str {
        "GNOME (Mutter's idle monitor)"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::InUse]
    }

    fn look(&mut self, _wants: &Wants) -> Result<Vec<Fact>, String> {
        let bus = self.bus.clone();
        let open = || {
            bus.proxy(
                "org.gnome.Mutter.IdleMonitor",
                "/org/gnome/Mutter/IdleMonitor/Core",
                "org.gnome.Mutter.IdleMonitor",
            )
        };
        let idle: u64 = self.line.with(open, |monitor| monitor.call("GetIdletime", &()).map_err(in_words))?;
        Ok(vec![Fact::Idle(Span(idle))])
    }
}

/// logind: whether all who are logged in have left, and who keeps the screen on.
pub struct Logind {
    bus: Bus,
    line: Retry<Proxy<'static>>,
}

impl Logind {
    /// On this bus.
    pub fn new(bus: Bus) -> Logind {
        Logind { bus, line: Retry::default() }
    }
}

/// What, who, why, mode, user and process, as logind lists those that hold something up.
type Inhibitor = (String, String, String, String, u32, u32);

impl Source for Logind {
    fn name(&self) -> &str {
        "logind"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::InUse, ReasonKind::FullScreen]
    }

    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String> {
        let bus = self.bus.clone();
        let open = || {
            bus.proxy("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
        };
        self.line.with(open, |manager| {
            let mut facts = Vec::new();
            if wants.kinds.contains(&ReasonKind::InUse) {
                let is_idle: bool = manager.get_property("IdleHint").map_err(in_words)?;
                let since: u64 = manager.get_property("IdleSinceHint").map_err(in_words)?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let idle = now.saturating_sub(Duration::from_micros(since));
                facts.push(Fact::Idle(if is_idle { idle.into() } else { Span::ZERO }));
            }
            if wants.kinds.contains(&ReasonKind::FullScreen) {
                // A film or a presentation: no compositor tells a stranger what fills the screen.
                let held: Vec<Inhibitor> = manager.call("ListInhibitors", &()).map_err(in_words)?;
                let keeps_on = |(what, _, _, mode, _, _): &Inhibitor| {
                    mode == "block" && what.split(':').any(|what| what == "idle")
                };
                facts.push(Fact::FullScreen(held.iter().any(keeps_on)));
            }
            Ok(facts)
        })
    }
}
