//! `sublet-desktop`: the tray, the window, and a node behind them.
//!
//! Where no node runs in the user's data directory, this program runs one; where one does, it shows that one.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod bridge;
mod desk;
mod house;
mod news;
mod notice;
mod program;
mod reporter;
mod tray;
mod window;
mod words;

use bridge::Bridge;
use desk::Desk;
use house::House;
use notice::Teller;
use program::Programs;
use std::sync::Arc;
use tauri::{Manager, RunEvent, WindowEvent};
use tauri_plugin_autostart::MacosLauncher;
use tauri_plugin_deep_link::DeepLinkExt;
use words::Language;

/// Starts with the tray alone, as at login.
const HIDDEN: &str = "--hidden";

fn main() -> anyhow::Result<()> {
    api::node::machine::memory::keep_small();
    api::begin_telling(api::OF_A_NODE);
    let language = Language::of(|name| std::env::var(name).ok());
    let app = tauri::Builder::default()
        // First, so that a second start goes no further.
        .plugin(tauri_plugin_single_instance::init(|app, words, _| window::show(app, window::link(&words))))
        .plugin(tauri_plugin_deep_link::init())
        .plugin(tauri_plugin_autostart::init(MacosLauncher::LaunchAgent, Some(vec![HIDDEN])))
        .plugin(tauri_plugin_window_state::Builder::new().with_state_flags(window::REMEMBERED).build())
        .invoke_handler(tauri::generate_handler![
            bridge::api,
            bridge::api_open,
            bridge::api_close,
            bridge::api_put,
            bridge::api_piece,
            program::session_open,
            program::session_send,
            program::session_close,
            desk::autostart,
            desk::set_autostart,
            window::close_told,
        ])
        .setup(move |app| {
            let house = Arc::new(tauri::async_runtime::block_on(House::open())?);
            app.manage(Bridge::to(house.clone()));
            app.manage(Programs::of(house::data()?));
            let handle = app.handle();
            app.manage(Desk::of(house, language, Teller::of(handle.clone(), language)));
            tauri::async_runtime::spawn(reporter::report(handle.clone()));
            tauri::async_runtime::spawn(desk::watch(handle.clone()));
            tauri::async_runtime::spawn(desk::put_up(handle.clone()));
            if cfg!(target_os = "macos") {
                // Elsewhere a link is a word of the command line.
                let handle = handle.clone();
                app.deep_link().on_open_url(move |opened| {
                    window::show(
                        &handle,
                        opened.urls().first().map(|link| window::Place::Link(link.to_string())),
                    );
                });
            }
            // An installed package has said already who opens its links; this has not.
            if std::env::var_os("APPIMAGE").is_some()
                && let Err(error) = app.deep_link().register_all()
            {
                eprintln!("links of Sublet do not open it: {error}");
            }
            let words: Vec<String> = std::env::args().collect();
            if !words.iter().any(|word| word == HIDDEN) {
                window::show(handle, window::link(&words));
            }
            Ok(())
        })
        .on_menu_event(|app, event| desk::chosen(app, event.id().as_ref()))
        .on_window_event(move |window, event| {
            if let WindowEvent::CloseRequested { api, .. } = event {
                window::closing(window, api, language);
            }
        })
        .build(tauri::generate_context!())?;
    app.run(|app, event| {
        if let RunEvent::ExitRequested { code: None, api, .. } = &event {
            // The last window is closed: the tray stays.
            api.prevent_exit();
        }
        if let (RunEvent::Exit, Some(desk)) = (&event, app.try_state::<Desk>()) {
            // Guests go on under their supervisors until the next node takes charge of them.
            tauri::async_runtime::block_on(desk.house.close());
        }
    });
    Ok(())
}
