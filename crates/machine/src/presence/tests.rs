//! The sources against the real thing, as far as one can be had: an X server without a screen, D-Bus services that
//! python-dbusmock plays on a bus of our own, a Wayland compositor that pretends, pipes for keyboards.

use super::dbus::{Bus, Logind, Mutter, NetworkManager, UPower};
use super::devices::InputDevices;
use super::wayland::Wayland;
use super::x11::X11;
use super::{Fact, Source, Wants};
use model::{ReasonKind, Span};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, CreateWindowAux, PropMode, WindowClass};
use x11rb::wrapper::ConnectionExt as _;
use zbus::blocking::Proxy;
use zbus::zvariant::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn start(command: &mut Command) -> (Program, BufReader<impl Read + use<>>) {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("cargo xtask installs it");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        (Program(child), output)
    }
}

fn wants(kinds: &[ReasonKind]) -> Wants {
    Wants { kinds: kinds.iter().copied().collect(), alone_after: Span::seconds(60), ..Wants::default() }
}

/// Looks until something is so.
fn until(
    source: &mut dyn Source,
    wants: &Wants,
    is: impl Fn(&Result<Vec<Fact>, String>) -> bool,
) -> Vec<Fact> {
    let begun = Instant::now();
    loop {
        let told = source.look(wants);
        if is(&told) {
            return told.expect("it tells");
        }
        assert!(begun.elapsed() < PATIENCE, "{told:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn idle(facts: &[Fact]) -> Span {
    let idle = facts.iter().find_map(|fact| if let Fact::Idle(idle) = fact { Some(*idle) } else { None });
    idle.expect("it tells how long nobody was there")
}

#[test]
fn an_x_server_tells_of_keys_and_of_full_screen() {
    let mut server = Command::new("Xvfb");
    server.args(["-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp", "-noreset"]);
    let (_server, mut output) = Program::start(&mut server);
    let mut number = String::new();
    output.read_line(&mut number).unwrap();
    let display = format!(":{}", number.trim());
    let mut source = X11::new(Some(display.clone()), false);
    let both = wants(&[ReasonKind::InUse, ReasonKind::FullScreen]);

    thread::sleep(Duration::from_millis(400));
    let facts = source.look(&both).unwrap();
    assert!(idle(&facts) >= Span(300), "{facts:?}");
    assert_eq!(facts.len(), 1, "without a window manager nobody says what fills the screen: {facts:?}");
    let pressed = Command::new("xdotool").args(["key", "a"]).env("DISPLAY", &display).status();
    assert!(pressed.expect("cargo xtask installs xdotool").success());
    assert!(idle(&source.look(&both).unwrap()) < Span(300));

    // What a window manager says.
    let (x, screen) = x11rb::connect(Some(&display)).unwrap();
    let root = x.setup().roots[screen].root;
    let window = x.generate_id().unwrap();
    let none = CreateWindowAux::new();
    x.create_window(0, window, root, 0, 0, 320, 240, 0, WindowClass::INPUT_OUTPUT, 0, &none).unwrap();
    let atom = |name: &str| x.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    let (active, state, full) =
        (atom("_NET_ACTIVE_WINDOW"), atom("_NET_WM_STATE"), atom("_NET_WM_STATE_FULLSCREEN"));
    x.change_property32(PropMode::REPLACE, root, active, AtomEnum::WINDOW, &[window])
        .unwrap()
        .check()
        .unwrap();
    assert!(source.look(&both).unwrap().contains(&Fact::FullScreen(false)));
    x.change_property32(PropMode::REPLACE, window, state, AtomEnum::ATOM, &[full]).unwrap().check().unwrap();
    assert!(source.look(&both).unwrap().contains(&Fact::FullScreen(true)));
    x.destroy_window(window).unwrap().check().unwrap();
    assert!(source.look(&both).unwrap().contains(&Fact::FullScreen(false)), "it was closed");
}

#[test]
fn where_there_is_no_session_each_source_says_so() {
    let both = wants(&[ReasonKind::InUse]);
    assert_eq!(X11::new(None, false).look(&both), Err("no DISPLAY is set".to_owned()));
    assert!(X11::new(Some(":1".into()), true).look(&both).unwrap_err().contains("Wayland"));
    assert_eq!(Wayland::new(None).look(&both), Err("no WAYLAND_DISPLAY is set".to_owned()));
    assert!(Wayland::new(Some("/nowhere/wayland-0".into())).look(&both).is_err());
    let nowhere = Bus::At("unix:path=/nowhere/bus".into());
    for source in [
        Box::new(Logind::new(nowhere.clone())) as Box<dyn Source>,
        Box::new(Mutter::new(nowhere.clone())),
        Box::new(UPower::new(nowhere.clone())),
        Box::new(NetworkManager::new(nowhere)),
    ] {
        let mut source = source;
        assert!(source.look(&both).unwrap_err().contains("no such bus"), "{}", source.name());
    }
}

/// A bus of our own.
fn bus() -> (Program, String) {
    let (daemon, mut output) =
        Program::start(Command::new("dbus-daemon").args(["--session", "--nofork", "--print-address=1"]));
    let mut address = String::new();
    output.read_line(&mut address).unwrap();
    (daemon, address.trim().to_owned())
}

/// A service that python-dbusmock plays on it.
fn mock(address: &str, template: &str) -> Program {
    // Debian's Python has the module; one that somebody has installed beside it has not.
    let mut python = Command::new("/usr/bin/python3");
    python
        .args(["-m", "dbusmock", "--system", "--template", template])
        .env("DBUS_SYSTEM_BUS_ADDRESS", address);
    // What it tells of each call is not read.
    Program(python.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("cargo xtask installs it"))
}

fn update(
    address: &str,
    name: &'static str,
    path: &'static str,
    interface: &str,
    values: &[(&str, Value<'_>)],
) {
    let connection = zbus::blocking::connection::Builder::address(address).unwrap().build().unwrap();
    let mock = Proxy::new(&connection, name, path, "org.freedesktop.DBus.Mock").unwrap();
    let values: HashMap<&str, &Value<'_>> = values.iter().map(|(name, value)| (*name, value)).collect();
    let _: () = mock.call("UpdateProperties", &(interface, values)).unwrap();
}

/// Whether the service has taken another property.
fn add(address: &str, name: &'static str, path: &'static str, property: &str, value: Value<'_>) -> bool {
    let connection = zbus::blocking::connection::Builder::address(address).unwrap().build().unwrap();
    let mock = Proxy::new(&connection, name, path, "org.freedesktop.DBus.Mock").unwrap();
    mock.call::<_, _, ()>("AddProperty", &(name, property, value)).is_ok()
}

/// A source once its service has come up, which takes a moment.
fn up<S: Source>(new: impl Fn() -> S, kinds: &[ReasonKind]) -> S {
    let begun = Instant::now();
    loop {
        let mut source = new();
        let told = source.look(&wants(kinds));
        if told.is_ok() {
            return source;
        }
        assert!(begun.elapsed() < PATIENCE, "{told:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn upower_tells_of_battery_and_charge_as_they_change() {
    let (_daemon, address) = bus();
    let _mock = mock(&address, "upower");
    let kinds = [ReasonKind::OnBattery, ReasonKind::LowCharge];
    let mut source = up(|| UPower::new(Bus::At(address.clone())), &kinds);
    let main = "org.freedesktop.UPower";
    update(&address, main, "/org/freedesktop/UPower", main, &[("OnBattery", true.into())]);
    let all = "/org/freedesktop/UPower/devices/DisplayDevice";
    let charge = [("IsPresent", true.into()), ("Percentage", 41.6f64.into())];
    update(&address, main, all, "org.freedesktop.UPower.Device", &charge);
    let on_battery = [Fact::OnBattery(true), Fact::Charge(42)];
    until(&mut source, &wants(&kinds), |told| told.as_deref() == Ok(&on_battery));
    update(&address, main, "/org/freedesktop/UPower", main, &[("OnBattery", false.into())]);
    let mains = [Fact::OnBattery(false), Fact::Charge(42)];
    until(&mut source, &wants(&kinds), |told| told.as_deref() == Ok(&mains));
}

#[test]
fn network_manager_tells_whether_traffic_is_paid_for() {
    let (_daemon, address) = bus();
    let _mock = mock(&address, "networkmanager");
    let main = "org.freedesktop.NetworkManager";
    let kinds = [ReasonKind::Metered];
    let begun = Instant::now();
    // Debian's template does not know the property.
    while !add(&address, main, "/org/freedesktop/NetworkManager", "Metered", 1u32.into()) {
        assert!(begun.elapsed() < PATIENCE, "it comes up");
        thread::sleep(Duration::from_millis(100));
    }
    let mut source = up(|| NetworkManager::new(Bus::At(address.clone())), &kinds);
    let paid = [Fact::Metered(true)];
    until(&mut source, &wants(&kinds), |told| told.as_deref() == Ok(&paid));
    update(&address, main, "/org/freedesktop/NetworkManager", main, &[("Metered", 4u32.into())]);
    let free = [Fact::Metered(false)];
    until(&mut source, &wants(&kinds), |told| told.as_deref() == Ok(&free));
    update(&address, main, "/org/freedesktop/NetworkManager", main, &[("Metered", 0u32.into())]);
    let begun = Instant::now();
    while source.look(&wants(&kinds)).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "what is not known is not told");
    }
}

#[test]
fn logind_tells_who_has_left_and_who_keeps_the_screen_on() {
    let (_daemon, address) = bus();
    let _mock = mock(&address, "logind");
    let both = [ReasonKind::InUse, ReasonKind::FullScreen];
    let mut source = up(|| Logind::new(Bus::At(address.clone())), &both);
    let facts = source.look(&wants(&both)).unwrap();
    assert!(facts.contains(&Fact::Idle(Span::ZERO)) && facts.contains(&Fact::FullScreen(false)), "{facts:?}");

    let (name, path, manager) =
        ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager");
    let micros =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    let left = micros - 600_000_000;
    update(&address, name, path, manager, &[("IdleSinceHint", left.into()), ("IdleHint", true.into())]);
    let ten_minutes =
        |told: &Result<Vec<Fact>, String>| told.as_ref().is_ok_and(|facts| idle(facts) >= Span::minutes(10));
    until(&mut source, &wants(&both), ten_minutes);

    let connection = zbus::blocking::connection::Builder::address(address.as_str()).unwrap().build().unwrap();
    let logind = Proxy::new(&connection, name, path, manager).unwrap();
    let film: zbus::zvariant::OwnedFd =
        logind.call("Inhibit", &("idle", "a film", "it plays", "block")).unwrap();
    assert!(source.look(&wants(&both)).unwrap().contains(&Fact::FullScreen(true)));
    drop(film);
    until(&mut source, &wants(&both), |told| {
        told.as_ref().is_ok_and(|facts| facts.contains(&Fact::FullScreen(false)))
    });
}

/// A Wayland compositor that pretends: a seat, and the protocol for idle time, by the bytes that go over the socket.
fn compositor(socket: UnixListener, says: mpsc::Receiver<u16>) {
    fn event(stream: &mut UnixStream, object: u32, opcode: u16, words: &[u32], text: Option<(usize, &str)>) {
        let mut body: Vec<u8> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            body.extend(word.to_ne_bytes());
            if let Some((after, text)) = text
                && after == at
            {
                body.extend((text.len() as u32 + 1).to_ne_bytes());
                body.extend(text.as_bytes());
                body.resize(body.len() / 4 * 4 + 4, 0);
            }
        }
        let head = [object, (body.len() as u32 + 8) << 16 | u32::from(opcode)];
        let head: Vec<u8> = head.iter().flat_map(|word| word.to_ne_bytes()).collect();
        stream.write_all(&[head, body].concat()).unwrap();
    }
    let (mut stream, _) = socket.accept().unwrap();
    let mut objects: HashMap<u32, &str> = HashMap::from([(1, "display")]);
    let mut writer = stream.try_clone().unwrap();
    let (noticed, notification) = mpsc::channel();
    thread::spawn(move || {
        let notification: u32 = notification.recv().unwrap();
        for opcode in says {
            event(&mut writer, notification, opcode, &[], None);
        }
    });
    let mut head = [0; 8];
    while stream.read_exact(&mut head).is_ok() {
        let word =
            |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at * 4..at * 4 + 4].try_into().unwrap());
        let (object, size) = (word(&head, 0), word(&head, 1) >> 16);
        let mut body = vec![0; size as usize - 8];
        stream.read_exact(&mut body).unwrap();
        match (objects[&object], word(&head, 1) & 0xFFFF) {
            ("display", 0) => event(&mut stream, word(&body, 0), 0, &[0], None),
            ("display", 1) => {
                let registry = word(&body, 0);
                objects.insert(registry, "registry");
                event(&mut stream, registry, 0, &[1, 1], Some((0, "wl_seat")));
                event(&mut stream, registry, 0, &[2, 1], Some((0, "ext_idle_notifier_v1")));
            }
            // bind: name, interface, version, new id.
            ("registry", 0) => {
                let kind = if word(&body, 0) == 1 { "seat" } else { "notifier" };
                objects.insert(word(&body, body.len() / 4 - 1), kind);
            }
            // get_idle_notification: new id, milliseconds, seat.
            ("notifier", 1) => {
                assert_eq!((word(&body, 1), objects[&word(&body, 2)]), (60_000, "seat"));
                objects.insert(word(&body, 0), "notification");
                noticed.send(word(&body, 0)).unwrap();
            }
            other => panic!("{other:?} is more than this one knows"),
        }
    }
}

#[test]
fn a_wayland_compositor_tells_when_people_leave_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wayland-7");
    let socket = UnixListener::bind(&path).unwrap();
    let (say, says) = mpsc::channel();
    let pretends = thread::spawn(move || compositor(socket, says));
    let mut source = Wayland::new(Some(path));
    let in_use = wants(&[ReasonKind::InUse]);
    assert_eq!(source.look(&in_use), Ok(vec![Fact::Idle(Span::ZERO)]), "nobody has been away for so long");
    say.send(0).unwrap();
    until(&mut source, &in_use, |told| told.as_ref().is_ok_and(|facts| idle(facts) >= Span::seconds(60)));
    say.send(1).unwrap();
    until(&mut source, &in_use, |told| told.as_ref().is_ok_and(|facts| idle(facts) == Span::ZERO));
    drop((say, source));
    pretends.join().unwrap();
}

#[test]
fn a_keyboard_that_may_be_read_tells_of_keys() {
    let (dev, sys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, keys) in [("event0", "fffffffffffffffe 0"), ("event1", "0")] {
        let capabilities = sys.path().join(name).join("device/capabilities");
        fs::create_dir_all(&capabilities).unwrap();
        fs::write(capabilities.join("key"), keys).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dev.path().join(name),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
    }
    // A device that is open for writing stays, as one that is plugged in does.
    let node = |name: &str| fs::File::options().read(true).write(true).open(dev.path().join(name)).unwrap();
    let (mut keyboard, mut lid) = (node("event0"), node("event1"));
    let mut source = InputDevices::new(dev.path().to_owned(), sys.path().to_owned());
    let in_use = wants(&[ReasonKind::InUse]);
    source.look(&in_use).unwrap();
    thread::sleep(Duration::from_millis(300));
    lid.write_all(&[0; 24]).unwrap();
    assert!(idle(&source.look(&in_use).unwrap()) >= Span(300), "nobody types on a lid");
    keyboard.write_all(&[0; 24]).unwrap();
    assert!(idle(&source.look(&in_use).unwrap()) < Span(300));
    let nothing = InputDevices::new("/nowhere".into(), "/nowhere".into()).look(&in_use);
    assert!(nothing.unwrap_err().contains("no keyboard"));
}
