//! The window: made when wanted and gone when closed, as it costs some 200 MB, most of it WebKit's processes.

use crate::tray::{self, panel};
use crate::words::{self, Language};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use tauri::{AppHandle, CloseRequestApi, Manager, WebviewUrl, WebviewWindowBuilder, Window};
use tauri_plugin_window_state::{AppHandleExt, StateFlags};

const LABEL: &str = "main";

/// What of a window is remembered: whether it is seen is not.
pub const REMEMBERED: StateFlags =
    StateFlags::SIZE.union(StateFlags::POSITION).union(StateFlags::MAXIMIZED).union(StateFlags::FULLSCREEN);

/// Where in the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A page, by its name.
    Page(&'static str),
    /// The page that asks whether to accept this link.
    Link(String),
}

impl Place {
    /// What takes a page there.
    fn script(&self) -> String {
        match self {
            Place::Page(page) => format!("location.hash = '#/{page}'"),
            // As a text of JSON it is a text of JavaScript, whatever is in it.
            Place::Link(link) => {
                format!("location.hash = '#/people/' + encodeURIComponent({})", serde_json::json!(link))
            }
        }
    }
}

/// The longest link that is handed to a page.
const LONGEST: usize = 16 * 1024;

/// Where the link in a command line leads, if there is one.
pub fn link(arguments: &[String]) -> Option<Place> {
    let is_link = |word: &&String| word.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sublet:"));
    arguments.iter().skip(1).find(is_link).filter(|link| link.len() <= LONGEST).cloned().map(Place::Link)
}

/// Brings the window to the front, at a place where one is named.
pub fn show(app: &AppHandle, place: Option<Place>) {
    let handle = app.clone();
    let shown = app.run_on_main_thread(move || {
        if let Err(error) = open(&handle, place.as_ref()) {
            eprintln!("the window cannot be opened: {error}");
        }
    });
    if let Err(error) = shown {
        eprintln!("the window cannot be opened: {error}");
    }
}

fn open(app: &AppHandle, place: Option<&Place>) -> tauri::Result<()> {
    let to_the_page = place.map(Place::script);
    if let Some(window) = app.get_webview_window(LABEL) {
        window.unminimize()?;
        window.show()?;
        window.set_focus()?;
        return to_the_page.map_or(Ok(()), |script| window.eval(script));
    }
    let mut builder = WebviewWindowBuilder::new(app, LABEL, WebviewUrl::default())
        .title(words::PRODUCT)
        .inner_size(1180.0, 800.0)
        .min_inner_size(480.0, 400.0);
    if let Some(script) = to_the_page {
        // A page that is loaded again stays where it is.
        builder = builder.initialization_script(format!("if (location.hash === '') {script}"));
    }
    builder.build()?;
    Ok(())
}

/// The person wants it gone. Where no tray leads back to it, they are told once what happens and how to get it again.
pub fn closing(window: &Window, api: &CloseRequestApi, language: Language) {
    let app = window.app_handle();
    if let Err(error) = app.save_window_state(REMEMBERED) {
        eprintln!("where the window was is not remembered: {error}");
    }
    let tray = tray::is_up(app) && panel::shows_trays();
    if tray || told(app).is_none_or(|told| told.exists()) {
        return;
    }
    let Some(page) = app.get_webview_window(LABEL) else { return };
    let text = serde_json::json!(language.say(words::NO_TRAY));
    let script = format!("alert({text}); window.__TAURI_INTERNALS__.invoke('close_told')");
    // A page that cannot tell must not hold the window open: who asks again is not asked again.
    static ASKED: AtomicBool = AtomicBool::new(false);
    if !ASKED.swap(true, Ordering::Relaxed) && page.eval(script).is_ok() {
        api.prevent_close();
    }
}

/// The person has read it.
#[tauri::command]
pub fn close_told(window: tauri::WebviewWindow) -> Result<(), String> {
    if let Some(told) = told(window.app_handle()) {
        let noted = told.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&told, ""));
        noted.map_err(|error| error.to_string())?;
    }
    window.destroy().map_err(|error| error.to_string())
}

/// A file that is there once the person was told.
fn told(app: &AppHandle) -> Option<PathBuf> {
    Some(app.path().app_config_dir().ok()?.join("told-of-no-tray"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_among_the_words() {
        let words = |words: &[&str]| link(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let place = |link: &str| Some(Place::Link(link.to_owned()));
        assert_eq!(words(&["sublet-desktop", "sublet://invite/ab"]), place("sublet://invite/ab"));
        assert_eq!(words(&["sublet-desktop", "--hidden", "SUBLET:nonsense"]), place("SUBLET:nonsense"));
        assert_eq!(words(&["sublet://invite/ab"]), None, "the program's own name is none");
        assert_eq!(words(&["sublet-desktop", "süblet:", "http://x"]), None);
        assert_eq!(words(&["sublet-desktop", &format!("sublet:{}", "a".repeat(LONGEST))]), None);
    }

    #[test]
    fn a_link_stays_text_on_its_way_to_the_page() {
        let script = Place::Link("sublet:'); alert(\"x\")//".to_owned()).script();
        assert_eq!(
            script,
            r#"location.hash = '#/people/' + encodeURIComponent("sublet:'); alert(\"x\")//")"#
        );
        assert_eq!(Place::Page("rentals").script(), "location.hash = '#/rentals'");
    }
}
