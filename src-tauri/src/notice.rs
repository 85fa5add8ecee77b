//! Tells outside of the window, by the desktop's own means. A click leads to the page where more is to be seen.

use crate::news::Telling;
#[cfg(target_os = "linux")]
use crate::window::{self, Place};
#[cfg(target_os = "linux")]
use crate::words;
use crate::words::{Language, PRODUCT};
use tauri::AppHandle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Texts that wait for the daemon; more are lost rather than kept.
const WAITING: usize = 16;

/// Hands texts to the desktop. Who tells does not wait: the daemon may keep one waiting.
pub struct Teller(Sender<Telling>);

impl Teller {
    /// Tells for as long as it is kept.
    pub fn of(app: AppHandle, language: Language) -> Teller {
        let (tell, told) = channel(WAITING);
        tauri::async_runtime::spawn(desktop::tell(app, language, told));
        Teller(tell)
    }

    pub fn tell(&self, telling: Telling) {
        if let Err(lost) = self.0.try_send(telling) {
            eprintln!("a notification is lost: {lost}");
        }
    }
}

/// By D-Bus itself: a daemon tells of a click to the connection alone that sent the text, and often a token for the window just
/// before, whereupon notify-rust may miss the click.
#[cfg(target_os = "linux")]
mod desktop {
    use super::*;
    use futures::StreamExt;
    use std::collections::{BTreeMap, HashMap};
    use std::time::Duration;
    use zbus::zvariant::Value;

    const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

    /// As its entry in the menu is called, and its icon.
    const APP: &str = "org.sublet.desktop";

    /// Texts whose click is waited for.
    const OPEN: usize = 64;

    #[zbus::proxy(
        interface = "org.freedesktop.Notifications",
        default_service = "org.freedesktop.Notifications",
        default_path = "/org/freedesktop/Notifications"
    )]
    trait Notifications {
        fn get_capabilities(&self) -> zbus::Result<Vec<String>>;

        #[expect(clippy::too_many_arguments, reason = "they are the specification's")]
        fn notify(
            &self,
            app_name: &str,
            replaces: u32,
            icon: &str,
            summary: &str,
            body: &str,
            actions: &[&str],
            hints: HashMap<&str, Value<'_>>,
            expires: i32,
        ) -> zbus::Result<u32>;

        #[zbus(signal)]
        fn action_invoked(&self, id: u32, action: String) -> zbus::Result<()>;
    }

    pub async fn tell(app: AppHandle, language: Language, mut told: Receiver<Telling>) {
        while let Some(first) = told.recv().await {
            // The next may find a session whose bus is back.
            if let Err(error) = converse(&app, language, first, &mut told).await {
                eprintln!("a notification cannot be shown: {error}");
            }
        }
    }

    /// Tells this and all that follows, and hears of clicks, until the bus is gone.
    async fn converse(
        app: &AppHandle,
        language: Language,
        first: Telling,
        told: &mut Receiver<Telling>,
    ) -> zbus::Result<()> {
        let bus = zbus::connection::Builder::session()?.method_timeout(ANSWERS_WITHIN).build().await?;
        let daemon = NotificationsProxy::new(&bus).await?;
        let mut clicks = daemon.receive_action_invoked().await?;
        let mut open = BTreeMap::new();
        open.insert(send(&daemon, language, &first).await?, first.page);
        loop {
            tokio::select! {
                next = told.recv() => {
                    let Some(telling) = next else { return Ok(()) };
                    open.insert(send(&daemon, language, &telling).await?, telling.page);
                    if open.len() > OPEN {
                        open.pop_first();
                    }
                }
                click = clicks.next() => {
                    let Some(click) = click else { return Ok(()) };
                    if let Some(page) = open.remove(&click.args()?.id) {
                        window::show(app, Some(Place::Page(page)));
                    }
                }
            }
        }
    }

    async fn send(
        daemon: &NotificationsProxy<'_>,
        language: Language,
        telling: &Telling,
    ) -> zbus::Result<u32> {
        let can = daemon.get_capabilities().await?;
        let can = |what: &str| can.iter().any(|one| one == what);
        let text = if can("body-markup") { inert(&telling.text) } else { telling.text.clone() };
        let open = ["default", language.say(words::OPEN)];
        let actions: &[&str] = if can("actions") { &open } else { &[] };
        let hints = HashMap::from([("desktop-entry", Value::from(APP))]);
        daemon.notify(PRODUCT, 0, APP, &telling.title, &text, actions, hints, -1).await
    }

    /// Some daemons read a body as markup; what strangers call themselves is none.
    fn inert(text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn a_name_is_no_markup() {
            assert_eq!(super::inert("<b>Ann & Bo</b>"), "&lt;b&gt;Ann &amp; Bo&lt;/b&gt;");
        }
    }
}

/// Without clicks.
#[cfg(not(target_os = "linux"))]
mod desktop {
    use super::*;
    use notify_rust::Notification;

    pub async fn tell(_app: AppHandle, _language: Language, mut told: Receiver<Telling>) {
        while let Some(telling) = told.recv().await {
            let shown = tauri::async_runtime::spawn_blocking(move || {
                Notification::new().appname(PRODUCT).summary(&telling.title).body(&telling.text).show()
            });
            if let Ok(Err(error)) = shown.await {
                eprintln!("a notification cannot be shown: {error}");
            }
        }
    }
}
