//! Keyboard and mouse under Wayland: the compositor says when both have been left alone for a time, and when no more.

use super::retry::Retry;
use super::{Fact, Source, Wants};
use model::{ReasonKind, Span};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notification_v1::{
    Event, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;

/// A compositor is not waited for longer: it may hang, and the machine is to be looked at all the same.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A Wayland compositor.
pub struct Wayland {
    socket: Option<PathBuf>,
    line: Retry<Line>,
}

struct Line {
    queue: EventQueue<Hands>,
    hands: Hands,
    /// After how long the compositor calls the machine left alone.
    after: Span,
    notifier: ExtIdleNotifierV1,
    seat: WlSeat,
    notification: ExtIdleNotificationV1,
}

/// What the compositor has said.
struct Hands {
    /// Since when keyboard and mouse have been left alone for the time that was asked about; none: they are used.
    idled: Option<Instant>,
}

impl Wayland {
    /// The compositor behind this socket, if there is one.
    pub fn new(socket: Option<PathBuf>) -> Wayland {
        Wayland { socket, line: Retry::default() }
    }
}

impl Source for Wayland {
    fn name(&self) -> &str {
        "Wayland (ext-idle-notify-v1)"
    }

    fn kinds(&self) -> &[ReasonKind] {
        &[ReasonKind::InUse]
    }

    fn look(&mut self, wants: &Wants) -> Result<Vec<Fact>, String> {
        let socket = self.socket.clone().ok_or("no WAYLAND_DISPLAY is set")?;
        let after = wants.alone_after;
        let idle = self.line.with(|| Line::open(&socket, after), |line| line.idle(after))?;
        Ok(vec![Fact::Idle(idle)])
    }
}

impl Line {
    fn open(socket: &std::path::Path, after: Span) -> Result<Line, String> {
        let stream = UnixStream::connect(socket).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN)).map_err(|error| error.to_string())?;
        let connection = Connection::from_socket(stream).map_err(|error| error.to_string())?;
        let (globals, mut queue) =
            registry_queue_init::<Hands>(&connection).map_err(|error| error.to_string())?;
        let handle = queue.handle();
        let seat: WlSeat = globals.bind(&handle, 1..=1, ()).map_err(|_| "the compositor has no seat")?;
        let notifier: ExtIdleNotifierV1 = globals
            .bind(&handle, 1..=1, ())
            .map_err(|_| "the compositor does not know ext-idle-notify-v1, so it does not tell")?;
        let notification = notifier.get_idle_notification(milliseconds(after), &seat, &handle, ());
        let mut hands = Hands { idled: None };
        queue.roundtrip(&mut hands).map_err(|error| error.to_string())?;
        Ok(Line { queue, hands, after, notifier, seat, notification })
    }

    fn idle(&mut self, after: Span) -> Result<Span, String> {
        if after != self.after {
            self.notification.destroy();
            let handle = self.queue.handle();
            self.notification =
                self.notifier.get_idle_notification(milliseconds(after), &self.seat, &handle, ());
            (self.after, self.hands.idled) = (after, None);
        }
        self.read()?;
        // Until it says that they are left alone they are used, for all that is known.
        Ok(self.hands.idled.map_or(Span::ZERO, |since| after + Span::from(since.elapsed())))
    }

    /// Takes in what the compositor has said, and waits for nothing.
    fn read(&mut self) -> Result<(), String> {
        self.queue.flush().map_err(|error| error.to_string())?;
        loop {
            self.queue.dispatch_pending(&mut self.hands).map_err(|error| error.to_string())?;
            let Some(guard) = self.queue.prepare_read() else { continue };
            match guard.read() {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(wayland_client::backend::WaylandError::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn milliseconds(span: Span) -> u32 {
    u32::try_from(span.0).unwrap_or(u32::MAX)
}

impl Dispatch<ExtIdleNotificationV1, ()> for Hands {
    fn event(
        hands: &mut Hands,
        _: &ExtIdleNotificationV1,
        event: Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Hands>,
    ) {
        match event {
            Event::Idled => hands.idled = Some(Instant::now()),
            Event::Resumed => hands.idled = None,
            // What later versions may tell.
            _ => {}
        }
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Hands {
    fn event(
        _: &mut Hands,
        _: &WlRegistry,
        _: wayland_client::protocol::wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Hands>,
    ) {
    }
}

delegate_noop!(Hands: ignore WlSeat);
delegate_noop!(Hands: ExtIdleNotifierV1);
