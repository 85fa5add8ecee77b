//! Keyboard, mouse and full screen under X11.

use super::retry::Retry;
use super::{Fact, Source, Wants};
use model::{ReasonKind, Span};
use x11rb::connection::Connection;
use x11rb::errors::ReplyError;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, Window};
use x11rb::rust_connection::RustConnection;

/// An X11 display.
pub struct X11 {
    display: Option<String>,
    /// Xwayland sees keyboard and mouse only where an X11 program has them.
    under_wayland: bool,
    line: Retry<Line>,
}

struct Line {
    connection: RustConnection,
    root: Window,
    active: Atom,
    state: Atom,
    full_screen: Atom,
}

impl X11 {
    /// The display of this name, if there is one.
    pub fn new(display: Option<String>, under_wayland: bool) -> X11 {
        X11 { display, under_wayland, line: Retry::default() }
    }
}

impl Source for X11 {
    fn name(&self) -> &str {
        "X11"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::InUse, ReasonKind::FullScreen]
    }

    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String> {
        if self.under_wayland {
            return Err("this session is Wayland's, of which X11 sees only a part".to_owned());
        }
        let display = self.display.as_deref().filter(|name| !name.is_empty()).ok_or("no DISPLAY is set")?;
        self.line.with(|| Line::open(display), |line| line.look(wants))
    }
}

impl Line {
    fn open(display: &str) -> Result<Line, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let (connection, screen) = RustConnection::connect(Some(display)).map_err(|error| say(&error))?;
        let root = connection.setup().roots.get(screen).ok_or("the display has no screen")?.root;
        let atom = |name: &str| -> Result<Atom, ReplyError> {
            Ok(connection.intern_atom(false, name.as_bytes())?.reply()?.atom)
        };
        let atoms = || -> Result<_, ReplyError> {
            Ok((atom("_NET_ACTIVE_WINDOW")?, atom("_NET_WM_STATE")?, atom("_NET_WM_STATE_FULLSCREEN")?))
        };
        let (active, state, full_screen) = atoms().map_err(|error| say(&error))?;
        Ok(Line { connection, root, active, state, full_screen })
    }

    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String> {
        let mut facts = Vec::new();
        if wants.kinds.contains(&ReasonKind::InUse) {
            let info = self.connection.screensaver_query_info(self.root).map_err(ReplyError::from);
            let info = info.and_then(|asked| asked.reply()).map_err(|error| error.to_string())?;
            facts.push(Fact::Idle(Span(info.ms_since_user_input.into())));
        }
        if wants.kinds.contains(&ReasonKind::FullScreen) {
            let is_full = self.is_full_screen().map_err(|error| error.to_string())?;
            facts.extend(is_full.map(Fact::FullScreen));
        }
        Ok(facts)
    }

    /// Whether the active window fills the screen; none where no window manager says which one is active.
    fn is_full_screen(&self) -> Result<Option<bool>, ReplyError> {
        let Some(active) = self.numbers(self.root, self.active, AtomEnum::WINDOW)?.first().copied() else {
            return Ok(None);
        };
        if active == 0 {
            return Ok(Some(false));
        }
        match self.numbers(active, self.state, AtomEnum::ATOM) {
            Ok(states) => Ok(Some(states.contains(&self.full_screen))),
            // It was closed in between.
            Err(ReplyError::X11Error(_)) => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    fn numbers(&self, window: Window, property: Atom, kind: AtomEnum) -> Result<Vec<u32>, ReplyError> {
        let reply = self.connection.get_property(false, window, property, kind, 0, 64)?.reply()?;
        Ok(reply.value32().into_iter().flatten().collect())
    }
}
