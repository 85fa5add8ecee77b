//! Invites as links: `sublet://invite/` and the invite's bytes in base64url (RFC 4648, section 5), so that they travel in
//! any mail, chat or picture, and open the app where it is installed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use node::model::envelope::Claim;
use node::model::{Invite, Signed, Unverified};
use qrcode::{Color, EcLevel, QrCode};

const HEAD: &str = "sublet://invite/";

/// The largest link that is looked at.
const LONGEST: usize = 16 * 1024;

/// An invite as a link.
pub fn write(invite: &Signed<Invite>) -> String {
    format!("{HEAD}{}", URL_SAFE_NO_PAD.encode(invite.bytes()))
}

/// Why a text is no invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLink {
    /// It does not begin as one.
    #[error("this is no invite: a link that begins with `{HEAD}` is needed")]
    Head,
    /// Part of it is missing, or something was added.
    #[error("this invite was damaged on its way: copy the whole link")]
    Damaged,
}

/// A link as an invite. Spaces and line breaks, which mail programs add, do no harm.
///
/// # Errors
/// When it is none.
pub fn read(link: &str) -> Result<Unverified<Invite>, NoLink> {
    if link.len() > LONGEST {
        return Err(NoLink::Damaged);
    }
    let link: String = link.chars().filter(|c| !c.is_whitespace()).collect();
    let text = link.strip_prefix(HEAD).ok_or(NoLink::Head)?;
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('/')).map_err(|_| NoLink::Damaged)?;
    // What is no envelope at all is told apart here; whether it is a good one is told on verifying it.
    Claim::of(&bytes).and_then(|_| Unverified::read(&bytes)).map_err(|_| NoLink::Damaged)
}

/// A link as a QR code: a text of `1` (dark) and `0` for each row, without the quiet zone; none when it is too long.
pub fn picture(link: &str) -> Vec<String> {
    let Ok(code) = QrCode::with_error_correction_level(link, EcLevel::L) else { return Vec::new() };
    let digit = |color: &Color| if *color == Color::Dark { '1' } else { '0' };
    code.to_colors().chunks(code.width()).map(|row| row.iter().map(digit).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::model::{DeviceCertificate, Key, Nonce, PeerKey, PersonId, Span, Timestamp};

    fn invite() -> Signed<Invite> {
        let (person, device) = (Key::from_seed([1; 32]), Key::from_seed([2; 32]));
        let issued = Timestamp(1_800_000_000_000);
        let certificate = DeviceCertificate {
            person: PersonId(person.id().0),
            device: device.id(),
            peer: PeerKey([3; 32]),
            label: "attic".to_owned(),
            seq: 1,
            issued,
            expires: issued + Span::days(300),
        };
        let invite = Invite {
            certificate: person.sign(&certificate).unwrap().unverified(),
            name: "Ada".to_owned(),
            addresses: vec!["/ip4/192.0.2.7/udp/4001/quic-v1".to_owned()],
            nonce: Nonce([9; 16]),
            issued,
            expires: issued + Span::days(7),
        };
        device.sign(&invite).unwrap()
    }

    #[test]
    fn a_link_leads_back_to_its_invite_whatever_a_mail_program_does_to_it() {
        let link = write(&invite());
        let broken = format!("  {}\r\n {}/\n", &link[..70], &link[70..]);
        for text in [link.as_str(), broken.as_str()] {
            let read = read(text).unwrap().verify(invite().issued).unwrap();
            assert_eq!(read.bytes(), invite().bytes());
        }
    }

    #[test]
    fn what_is_no_invite_is_told_from_what_is_damaged() {
        let link = write(&invite());
        assert_eq!(read("https://example.org").unwrap_err(), NoLink::Head);
        assert_eq!(read(&link[..link.len() - 9]).unwrap_err(), NoLink::Damaged);
        assert_eq!(read(&format!("{link}!")).unwrap_err(), NoLink::Damaged);
        assert_eq!(read(&format!("{HEAD}nonsense")).unwrap_err(), NoLink::Damaged);
        assert_eq!(read(&format!("{HEAD}{}", "A".repeat(20_000))).unwrap_err(), NoLink::Damaged);
    }

    #[test]
    fn an_invite_fits_into_a_picture() {
        let rows = picture(&write(&invite()));
        assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == rows.len()));
        assert!(picture(&"x".repeat(5_000)).is_empty());
    }
}
