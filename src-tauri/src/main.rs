//! `sublet-desktop`: the window, and a node behind it.
//!
//! Where no node runs in the user's data directory, this program runs one; where one does, it shows that one.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod bridge;
mod house;
mod program;

use bridge::Bridge;
use house::House;
use program::Programs;
use tauri::{AppHandle, Manager, RunEvent, WebviewUrl, WebviewWindowBuilder};

fn main() -> anyhow::Result<()> {
    // Before anything else, and before there is a second thread: a supervisor becomes another kind of process.
    if std::env::args_os().nth(1).is_some_and(|word| word == "supervise") {
        api::node::machine::guest::supervise();
    }
    api::node::machine::memory::keep_small();
    let app = tauri::Builder::default()
        .invoke_handler(tauri::generate_handler![
            bridge::api,
            bridge::api_open,
            bridge::api_close,
            program::session_open,
            program::session_send,
            program::session_close,
        ])
        .setup(|app| {
            let house = tauri::async_runtime::block_on(House::open())?;
            app.manage(Bridge::to(house.passage()));
            app.manage(Programs::of(house::data()?));
            app.manage(house);
            Ok(open(app.handle())?)
        })
        .build(tauri::generate_context!())?;
    app.run(|app, event| {
        if let RunEvent::Exit = event {
            // Guests go on under their supervisors until the next node takes charge of them.
            tauri::async_runtime::block_on(app.state::<House>().close());
        }
    });
    Ok(())
}

/// Made when wanted and gone when closed: a window costs some 200 MB, most of it WebKit's processes.
fn open(app: &AppHandle) -> tauri::Result<()> {
    WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
        .title("Sublet")
        .inner_size(1180.0, 800.0)
        .min_inner_size(480.0, 400.0)
        .build()?;
    Ok(())
}
