//! What is told outside of the window.

use crate::words::PRODUCT;
use notify_rust::Notification;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// Texts that wait for the daemon; more are lost rather than kept.
const WAITING: usize = 16;

/// Shows a text by the desktop's own means, on a thread of its own: the daemon may keep one waiting.
pub fn tell(title: &str, text: &str) {
    static TELL: OnceLock<SyncSender<(String, String)>> = OnceLock::new();
    let tell = TELL.get_or_init(|| {
        let (tell, told) = sync_channel::<(String, String)>(WAITING);
        thread::spawn(move || {
            for (title, text) in told {
                let mut notice = Notification::new();
                notice.appname(PRODUCT).icon("sublet").summary(&title).body(&inert(&text));
                if let Err(error) = notice.show() {
                    eprintln!("a notification cannot be shown ({error}): {title}: {text}");
                }
            }
        });
        tell
    });
    if tell.try_send((title.to_owned(), text.to_owned())).is_err() {
        eprintln!("too many notifications wait: {title}: {text}");
    }
}

/// Daemons read a body as markup; what strangers call themselves is none.
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
