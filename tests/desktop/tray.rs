//! The tray's icon in a real panel (Xfce's hosts StatusNotifier items): what it shows is read, and its menu pressed, over D-Bus.

use crate::session::{Second, Session, Tested, always};
use crate::wish::{eventually, image, shell, terms};
use api::shapes::LeaseState;
use std::collections::HashMap;
use tauri::image::Image;
use zbus::proxy::{Builder, CacheProperties};
use zbus::zvariant::{OwnedValue, Structure, Value};
use zbus::{Connection, Proxy};

/// The item of the app, as the panel knows it.
struct Item {
    bus: Connection,
    service: String,
    path: String,
}

/// A line of its menu.
#[derive(Debug)]
struct Line {
    id: i32,
    label: String,
    is_on: bool,
    lines: Vec<Line>,
}

type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

impl Item {
    /// Waits until the panel shows it.
    async fn of(session: &Session) -> Result<Item, Box<dyn std::error::Error>> {
        let bus = zbus::connection::Builder::address(session.bus().as_str())?.build().await?;
        let mut found = None;
        eventually("an icon in the tray", async || {
            let watcher = proxy(
                &bus,
                "org.kde.StatusNotifierWatcher",
                "/StatusNotifierWatcher",
                "org.kde.StatusNotifierWatcher",
            );
            let items: Vec<String> = watcher
                .await
                .unwrap()
                .get_property("RegisteredStatusNotifierItems")
                .await
                .unwrap_or_default();
            found = items.first().cloned();
            found.is_some()
        })
        .await;
        let found = found.ok_or("no icon")?;
        let at = found.find('/').ok_or_else(|| format!("a strange item: {found}"))?;
        Ok(Item { bus, service: found[..at].to_owned(), path: found[at..].to_owned() })
    }

    async fn item(&self) -> zbus::Result<Proxy<'_>> {
        proxy(&self.bus, &self.service, &self.path, "org.kde.StatusNotifierItem").await
    }

    async fn tooltip(&self) -> String {
        type ToolTip = (String, Vec<(i32, i32, Vec<u8>)>, String, String);
        let told: zbus::Result<ToolTip> = self.item().await.unwrap().get_property("ToolTip").await;
        told.map(|(_, _, _, text)| text).unwrap_or_default()
    }

    /// Whether it shows the picture of this name, in the colours for a dark panel.
    async fn shows(&self, picture: &str) -> bool {
        let file = format!("{}/../icons/tray/{picture}-dark-48.png", env!("CARGO_MANIFEST_DIR"));
        let wanted = Image::from_path(file).unwrap();
        let pixels: Vec<(i32, i32, Vec<u8>)> =
            self.item().await.unwrap().get_property("IconPixmap").await.unwrap_or_default();
        // Here as red, green, blue, alpha; there as alpha, red, green, blue.
        let wanted: Vec<u8> =
            wanted.rgba().as_chunks::<4>().0.iter().flat_map(|[r, g, b, a]| [*a, *r, *g, *b]).collect();
        pixels.iter().any(|(_, _, bytes)| *bytes == wanted)
    }

    async fn menu(&self) -> Result<Vec<Line>, Box<dyn std::error::Error>> {
        let (_, root): (u32, Layout) =
            self.menus().await?.call("GetLayout", &(0, -1, Vec::<&str>::new())).await?;
        Ok(line(root)?.lines)
    }

    /// Presses the line with this label.
    async fn choose(&self, label: &str) -> Tested {
        let menu = self.menu().await?;
        let line = find(&menu, label).ok_or_else(|| format!("no `{label}` in {menu:?}"))?;
        self.menus().await?.call::<_, _, ()>("Event", &(line.id, "clicked", Value::from(0), 0u32)).await?;
        Ok(())
    }

    async fn menus(&self) -> zbus::Result<Proxy<'_>> {
        let path: zbus::zvariant::OwnedObjectPath = self.item().await?.get_property("Menu").await?;
        Builder::new(&self.bus)
            .destination(self.service.clone())?
            .path(path)?
            .interface("com.canonical.dbusmenu")?
            .cache_properties(CacheProperties::No)
            .build()
            .await
    }
}

/// One that asks each time.
async fn proxy<'a>(
    bus: &Connection,
    service: &'a str,
    path: &'a str,
    interface: &'a str,
) -> zbus::Result<Proxy<'a>> {
    Builder::new(bus)
        .destination(service)?
        .path(path)?
        .interface(interface)?
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

fn line((id, properties, below): Layout) -> zbus::zvariant::Result<Line> {
    let label = properties.get("label").and_then(|label| label.downcast_ref::<&str>().ok());
    let is_on = properties.get("toggle-state").and_then(|state| state.downcast_ref::<i32>().ok()) == Some(1);
    let layout = |child: OwnedValue| Layout::try_from(Structure::try_from(child)?);
    let lines: zbus::zvariant::Result<Vec<Line>> =
        below.into_iter().map(|child| line(layout(child)?)).collect();
    Ok(Line { id, label: label.unwrap_or_default().to_owned(), is_on, lines: lines? })
}

fn find<'a>(lines: &'a [Line], label: &str) -> Option<&'a Line> {
    lines.iter().find_map(|line| if line.label == label { Some(line) } else { find(&line.lines, label) })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tray_shows_what_is_so_and_does_what_is_chosen() -> Tested {
    let mut session = Session::whole()?;
    session.furnish().await?;
    session.panel()?;
    let (mut app, host) = session.at_login().await?;
    always(&host).await?;
    let tray = Item::of(&session).await?;
    let says = async |what: &str, picture: &str| {
        eventually(what, async || tray.tooltip().await == format!("Sublet: {what}")).await;
        assert!(tray.shows(picture).await, "{what} looks like {picture}");
        assert_eq!(tray.menu().await.unwrap()[0].label, what);
    };

    says("Not sharing", "off").await;
    assert!(find(&tray.menu().await?, "Pause for 1 hour").is_none());
    tray.choose("Share this computer").await?;
    says("Sharing, no guest now", "sharing").await;
    assert!(find(&tray.menu().await?, "Share this computer").is_some_and(|line| line.is_on));

    host.set_offer(&terms()).await?;
    let tenant = Second::at(&session.home().join("tenant"), "laptop").await?;
    tenant.meets(&host).await;
    image(&tenant.client, session.home(), "busybox", 0).await;
    let lease = tenant.client.rent(&shell("sleep 300")).await?;
    let stands = async |state: LeaseState| {
        let so = async || host.lease(&lease.id).await.is_ok_and(|lease| lease.standing.state == state);
        eventually(&format!("the lease to be {state:?}"), so).await;
    };
    stands(LeaseState::Running).await;
    says("1 guest runs here", "guests").await;
    assert!(tray.menu().await?[1].label.starts_with("Today: "));

    tray.choose("Pause until tomorrow").await?;
    stands(LeaseState::Frozen).await;
    eventually("the reason in the tooltip", async || {
        tray.tooltip().await.starts_with("Sublet: 1 guest stands still: paused by you, until 06:00")
    })
    .await;
    assert!(tray.shows("paused").await);
    tray.choose("Go on").await?;
    stands(LeaseState::Running).await;
    says("1 guest runs here", "guests").await;

    // It asks first, by a menu of its own.
    let quit = tray.menu().await?;
    assert!(quit.last().is_some_and(|line| line.label == "Quit .." && line.lines.len() == 3), "{quit:?}");
    tray.choose("Stop guests, then quit").await?;
    assert_eq!(app.code()?, Some(0));
    eventually("the tenant to hear of the end", async || {
        tenant.client.lease(&lease.id).await.is_ok_and(|lease| lease.ended.is_some())
    })
    .await;
    tenant.end().await;
    Ok(())
}
