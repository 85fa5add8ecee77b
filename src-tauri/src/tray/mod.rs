//! Paints the tray. What it shows is decided in `view`.

pub mod panel;
pub mod view;

use crate::window;
use tauri::image::Image;
use tauri::menu::{
    CheckMenuItemBuilder, IsMenuItem, Menu, MenuItemBuilder, PredefinedMenuItem, Submenu, SubmenuBuilder,
};
use tauri::tray::{MouseButton, MouseButtonState, TrayIconBuilder, TrayIconEvent};
use tauri::{AppHandle, Wry, include_image};
use view::{Entry, Icon, View};

const ID: &str = "sublet";

/// A panel scales them down.
const LIGHT: [Image<'_>; 5] = [
    include_image!("../icons/tray/off-light-48.png"),
    include_image!("../icons/tray/sharing-light-48.png"),
    include_image!("../icons/tray/guests-light-48.png"),
    include_image!("../icons/tray/paused-light-48.png"),
    include_image!("../icons/tray/attention-light-48.png"),
];
const DARK: [Image<'_>; 5] = [
    include_image!("../icons/tray/off-dark-48.png"),
    include_image!("../icons/tray/sharing-dark-48.png"),
    include_image!("../icons/tray/guests-dark-48.png"),
    include_image!("../icons/tray/paused-dark-48.png"),
    include_image!("../icons/tray/attention-dark-48.png"),
];

fn picture(icon: Icon, panel: panel::Colour) -> Image<'static> {
    match panel {
        panel::Colour::Light => LIGHT[icon as usize].clone(),
        panel::Colour::Dark => DARK[icon as usize].clone(),
    }
}

/// Whether it was put up.
pub fn is_up(app: &AppHandle) -> bool {
    app.tray_by_id(ID).is_some()
}

/// Shows this, and puts the tray up where it is not yet. On the main thread only.
///
/// # Errors
/// When there is nothing that shows trays: that may change.
pub fn paint(app: &AppHandle, view: &View, panel: panel::Colour) -> tauri::Result<()> {
    let menu = menu(app, &view.menu)?;
    if let Some(tray) = app.tray_by_id(ID) {
        tray.set_icon(Some(picture(view.icon, panel)))?;
        tray.set_tooltip(Some(&view.tooltip))?;
        return tray.set_menu(Some(menu));
    }
    TrayIconBuilder::with_id(ID)
        .icon(picture(view.icon, panel))
        .title(crate::words::PRODUCT)
        .tooltip(&view.tooltip)
        .menu(&menu)
        .show_menu_on_left_click(false)
        .on_tray_icon_event(|tray, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                window::show(tray.app_handle(), None);
            }
        })
        .build(app)?;
    Ok(())
}

fn menu(app: &AppHandle, entries: &[Entry]) -> tauri::Result<Menu<Wry>> {
    let menu = Menu::new(app)?;
    for entry in entries {
        menu.append(&*item(app, entry)?)?;
    }
    Ok(menu)
}

fn item(app: &AppHandle, entry: &Entry) -> tauri::Result<Box<dyn IsMenuItem<Wry>>> {
    Ok(match entry {
        Entry::Separator => Box::new(PredefinedMenuItem::separator(app)?),
        Entry::Line(text) => Box::new(MenuItemBuilder::new(plain(text)).enabled(false).build(app)?),
        Entry::Item(choice, text) => Box::new(MenuItemBuilder::with_id(choice.id(), plain(text)).build(app)?),
        Entry::Check(choice, text, on) => {
            Box::new(CheckMenuItemBuilder::with_id(choice.id(), plain(text)).checked(*on).build(app)?)
        }
        Entry::Menu(text, entries) => {
            let submenu: Submenu<Wry> = SubmenuBuilder::new(app, plain(text)).build()?;
            for entry in entries {
                submenu.append(&*item(app, entry)?)?;
            }
            Box::new(submenu)
        }
    })
}

/// Without marks for keys.
fn plain(text: &str) -> String {
    text.replace('&', "&&")
}
