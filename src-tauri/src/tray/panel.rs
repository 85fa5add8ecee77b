//! What the desktop tells of itself over D-Bus: whether something shows trays, and whether it is dark.

/// What the panel looks like, as far as one can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Light,
    Dark,
}

#[cfg(target_os = "linux")]
mod told {
    use super::Colour;
    use std::time::Duration;
    use zbus::blocking::{Connection, Proxy, connection::Builder, fdo::DBusProxy};
    use zbus::zvariant::OwnedValue;

    /// Whoever wants to know waits for it.
    const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

    fn session() -> zbus::Result<Connection> {
        Builder::session()?.method_timeout(ANSWERS_WITHIN).build()
    }

    /// Whether something shows trays. Waits.
    pub fn shows_trays() -> bool {
        let asked = || -> zbus::Result<bool> {
            let bus = DBusProxy::new(&session()?)?;
            Ok(bus.name_has_owner("org.kde.StatusNotifierWatcher".try_into()?)?)
        };
        asked().unwrap_or(false)
    }

    /// By the wish that the portal knows. Panels are dark more often than not. Waits.
    pub fn colour() -> Colour {
        let asked = || -> zbus::Result<u32> {
            let (name, path) = ("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop");
            let portal = Proxy::new(&session()?, name, path, "org.freedesktop.portal.Settings")?;
            let value: OwnedValue =
                portal.call("ReadOne", &("org.freedesktop.appearance", "color-scheme"))?;
            Ok(u32::try_from(value)?)
        };
        match asked() {
            Ok(2) => Colour::Light,
            Ok(_) | Err(_) => Colour::Dark,
        }
    }
}

#[cfg(target_os = "linux")]
pub use told::{colour, shows_trays};

/// There always is.
#[cfg(not(target_os = "linux"))]
pub fn shows_trays() -> bool {
    true
}

#[cfg(not(target_os = "linux"))]
pub fn colour() -> Colour {
    Colour::Dark
}
