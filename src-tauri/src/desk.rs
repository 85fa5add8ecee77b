//! Watches the node for the tray, keeps a node running, and does what is chosen from the menu.

use crate::house::House;
use crate::news::Telling;
use crate::notice::Teller;
use crate::tray::view::{Choice, Facts, Reason, View, view};
use crate::tray::{self, panel};
use crate::window;
use crate::words::{self, Language};
use api::Client;
use api::shapes::{
    BucketLength, Event, Lease, Moment, Money, Owner, OwnerState, Pause, RuleStanding, Seconds, ShareWish,
    Side, Status,
};
use api::{ClientError, Events};
use jiff::tz::TimeZone;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tauri::{AppHandle, Manager};
use tauri_plugin_autostart::ManagerExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// A burst of events is one look.
const GATHER: Duration = Duration::from_millis(400);

/// What no event tells, such as midnight, is seen so late at the most.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often a tray is tried where none could be put up, and a node where none answers.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// How long guests get to end before this program does.
const GUESTS_END: Duration = Duration::from_secs(60);

/// What the watcher and the menu share.
pub struct Desk {
    pub house: Arc<House>,
    pub language: Language,
    pub teller: Teller,
    shown: Mutex<Shown>,
    look: Notify,
    pub looks: watch::Sender<Option<Arc<Look>>>,
    /// Whether something is new of a release that nobody has looked at.
    pub released: AtomicBool,
}

/// What the node has said at one look.
pub struct Look {
    pub status: Status,
    pub owner: Owner,
    /// Those that have not ended, of both sides.
    pub leases: Vec<Lease>,
    earned: Vec<Money>,
}

#[derive(Default)]
struct Shown {
    facts: Option<Facts>,
    view: Option<(View, panel::Colour)>,
}

impl Desk {
    pub fn of(house: Arc<House>, language: Language, teller: Teller) -> Desk {
        let looks = watch::Sender::new(None);
        Desk {
            house,
            language,
            teller,
            shown: Mutex::default(),
            look: Notify::new(),
            looks,
            released: AtomicBool::default(),
        }
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches for as long as the program runs.
pub async fn watch(app: AppHandle) {
    let desk = app.state::<Desk>();
    loop {
        let client = desk.house.client();
        match client.events().await {
            Ok(events) => follow(&app, &client, events).await,
            Err(error) => {
                know(&app, None).await;
                eprintln!("the node does not answer: {error}");
            }
        }
        // The stream has ended: the node has, or it is slow to begin.
        if let Err(error) = desk.house.mend().await {
            eprintln!("a node cannot be started: {error:#}");
            know(&app, None).await;
            sleep(TRY_AGAIN).await;
        }
        sleep(GATHER).await;
    }
}

/// Looks whenever something has happened, until the node is gone.
async fn follow(app: &AppHandle, client: &Client, mut events: Events) {
    let desk = app.state::<Desk>();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Ok(Some(event)) if concerns(&event) => {
                    desk.released.fetch_or(event == Event::Update, Ordering::Relaxed);
                    due = due.min(Instant::now() + GATHER);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return know(app, None).await,
            },
            () = desk.look.notified() => due = Instant::now(),
            () = sleep_until(due) => {
                match look(client).await {
                    Ok(look) => {
                        know(app, Some(facts(&look, desk.house.is_own().await))).await;
                        desk.looks.send_replace(Some(Arc::new(look)));
                    }
                    // One that does not answer is seen by the end of its stream; one that is busy is asked again.
                    Err(error) => eprintln!("the node cannot be asked: {error}"),
                }
                due = Instant::now() + LOOK_AGAIN;
            }
        }
    }
}

/// Whether the tray may look different for it.
fn concerns(event: &Event) -> bool {
    match event {
        Event::Lease { .. }
        | Event::Health { .. }
        | Event::Receipt { .. }
        | Event::Renewal { .. }
        | Event::Ending { .. }
        | Event::Offered
        | Event::Owner
        | Event::Payment
        | Event::Update
        | Event::Missed { .. } => true,
        Event::Fetching { .. }
        | Event::Refused { .. }
        | Event::Rated { .. }
        | Event::Market
        | Event::People
        | Event::PeerUp { .. }
        | Event::PeerDown { .. } => false,
    }
}

async fn look(client: &Client) -> Result<Look, ClientError> {
    let status = client.status().await?;
    let owner = client.owner().await?;
    let day = Moment(status.now.0 - api::node::model::Span(26 * 3_600_000));
    let earnings = client.earnings_since(BucketLength::Day, day).await?;
    let today = earnings.buckets.into_iter().filter(|day| day.from <= status.now && status.now < day.until);
    let earned = today.map(|day| day.net.unwrap_or(day.gross)).collect();
    Ok(Look { owner, leases: client.all_leases(false).await?, earned, status })
}

fn facts(look: &Look, own: bool) -> Facts {
    let Look { status, owner, leases, earned } = look;
    let asks_owner = |lease: &&Lease| lease.renewing.as_ref().is_some_and(|wish| wish.owner_answers);
    let still = owner.state == OwnerState::Frozen;
    Facts {
        lends: status.lends,
        can_lend: status.runtime.is_some(),
        own,
        guests: status.hosting,
        waiting: leases.iter().filter(|lease| lease.side == Side::Host).filter(asks_owner).count(),
        paused: owner.rules.iter().any(|rule| rule.kind == "paused" && rule.state == RuleStanding::Active),
        reason: owner.reason.as_ref().map(|reason| Reason::of(reason, still, clock)),
        earned: earned.clone(),
    }
}

/// As the clocks of this place show it.
pub fn clock(at: &Moment) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0.0).unwrap_or_default().to_zoned(TimeZone::system());
    format!("{:02}:{:02}", at.hour(), at.minute())
}

/// Paints what is known now, if it looks different.
async fn know(app: &AppHandle, facts: Option<Facts>) {
    app.state::<Desk>().shown().facts = facts;
    show(app).await;
}

async fn show(app: &AppHandle) {
    let desk = app.state::<Desk>();
    let autostart = app.autolaunch().is_enabled().unwrap_or(false);
    // D-Bus may keep one waiting.
    let colour = tokio::task::spawn_blocking(panel::colour).await.unwrap_or(panel::Colour::Dark);
    let wanted = (view(desk.shown().facts.as_ref(), autostart, desk.language), colour);
    if desk.shown().view.as_ref() == Some(&wanted) && tray::is_up(app) {
        return;
    }
    desk.shown().view = Some(wanted.clone());
    if tray::is_up(app) {
        paint(app, wanted);
    }
}

fn paint(app: &AppHandle, (view, colour): (View, panel::Colour)) {
    let handle = app.clone();
    let painted = app.run_on_main_thread(move || {
        if let Err(error) = tray::paint(&handle, &view, colour) {
            eprintln!("the tray cannot be shown: {error}");
        }
    });
    if let Err(error) = painted {
        eprintln!("the tray cannot be shown: {error}");
    }
}

/// Puts the tray up once there is something that shows it: a panel may come late, or never.
pub async fn put_up(app: AppHandle) {
    while !tray::is_up(&app) {
        let shows = tokio::task::spawn_blocking(panel::shows_trays).await.unwrap_or(false);
        let wanted = app.state::<Desk>().shown().view.clone();
        if let Some(wanted) = wanted.filter(|_| shows) {
            paint(&app, wanted);
        }
        sleep(TRY_AGAIN).await;
    }
    // It was painted from what was known then.
    app.state::<Desk>().shown().view = None;
    show(&app).await;
}

/// Does what was chosen from the menu.
pub fn chosen(app: &AppHandle, id: &str) {
    let Some(choice) = Choice::named(id) else { return };
    let app = app.clone();
    tauri::async_runtime::spawn(async move {
        let desk = app.state::<Desk>();
        if let Err(why) = act(&app, choice).await {
            eprintln!("{choice:?}: {why}");
            // A box that was ticked by the click shows again what is so.
            desk.shown().view = None;
            let title = desk.language.say(words::NOT_DONE).to_owned();
            desk.teller.tell(Telling { title, text: why, page: "overview" });
            show(&app).await;
        }
        desk.look.notify_one();
    });
}

async fn act(app: &AppHandle, choice: Choice) -> Result<(), String> {
    let house = app.state::<Desk>().house.clone();
    let client = house.client();
    let told = |error: ClientError| error.to_string();
    match choice {
        Choice::Share => client.set_offer(&ShareWish::default()).await.map(drop).map_err(told),
        Choice::Unshare => client.unset_offer().await.map(drop).map_err(told),
        Choice::PauseHour => {
            let hour = Pause { span: Some(Seconds(Duration::from_secs(3_600).into())), ..Pause::default() };
            client.pause(&hour).await.map(drop).map_err(told)
        }
        Choice::PauseTomorrow => {
            let tomorrow = Pause { until_tomorrow: true, ..Pause::default() };
            client.pause(&tomorrow).await.map(drop).map_err(told)
        }
        Choice::GoOn => client.resume().await.map(drop).map_err(told),
        Choice::Open => {
            window::show(app, None);
            Ok(())
        }
        Choice::Autostart => {
            let starts = autostart(app.clone())?;
            set_autostart(app.clone(), !starts).await.map(drop)
        }
        Choice::Quit => {
            app.exit(0);
            Ok(())
        }
        Choice::StopAndQuit => {
            stop_guests(&client).await?;
            app.exit(0);
            Ok(())
        }
    }
}

/// Stops every guest, and waits until the last is over.
async fn stop_guests(client: &Client) -> Result<(), String> {
    let told = |error: ClientError| error.to_string();
    let leases = client.all_leases(false).await.map_err(told)?;
    for guest in leases.iter().filter(|lease| lease.side == Side::Host) {
        client.stop(&guest.id).await.map_err(told)?;
    }
    let over = async {
        while client.status().await?.hosting > 0 {
            sleep(GATHER).await;
        }
        Ok(())
    };
    match timeout(GUESTS_END, over).await {
        Ok(ended) => ended.map_err(told),
        Err(_) => Err(format!("guests have not ended within {} s", GUESTS_END.as_secs())),
    }
}

/// Whether this program starts when its user logs in.
#[tauri::command]
pub fn autostart(app: AppHandle) -> Result<bool, String> {
    app.autolaunch().is_enabled().map_err(|error| error.to_string())
}

/// Says whether it shall; answers how it is now.
#[tauri::command]
pub async fn set_autostart(app: AppHandle, on: bool) -> Result<bool, String> {
    let launch = app.autolaunch();
    let set = if on { launch.enable() } else { launch.disable() };
    set.map_err(|error| error.to_string())?;
    show(&app).await;
    autostart(app.clone())
}
