//! `sublet-desktop`: the window.

#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

use tauri::{AppHandle, WebviewUrl, WebviewWindowBuilder};

fn main() -> tauri::Result<()> {
    tauri::Builder::default().setup(|app| Ok(open(app.handle())?)).run(tauri::generate_context!())
}

/// Made when wanted and gone when closed: a window costs some 200 MB, most of it WebKit's processes.
fn open(app: &AppHandle) -> tauri::Result<()> {
    WebviewWindowBuilder::new(app, "main", WebviewUrl::default())
        .title("Sublet")
        .inner_size(1100.0, 760.0)
        .min_inner_size(480.0, 400.0)
        .build()?;
    Ok(())
}
