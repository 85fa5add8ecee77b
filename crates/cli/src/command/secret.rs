//! Secrets of guests: where their values come from. They are never typed on a command line, which every user of this computer
//! and the shell's history could read.

use crate::fail::Failure;
use api::node::model::Hidden;
use api::node::model::document::SecretFile;
use api::shapes::{SecretReaders, SecretWish};
use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The secrets that were typed, with their values. Not read by clap, which would repeat what it does not understand.
///
/// # Errors
/// When one makes no sense, or its value cannot be had.
pub fn secrets(typed: &[String], input_is_the_guest_s: bool) -> Result<Vec<SecretWish>, Failure> {
    let secrets =
        typed.iter().map(|text| secret(text).map_err(|why| Failure::misused(format!("--secret: {why}"))));
    let secrets: Vec<SecretArg> = secrets.collect::<Result<_, _>>()?;
    let takers = secrets.iter().filter(|secret| secret.from == Source::Input).count();
    if takers + usize::from(input_is_the_guest_s) > 1 && takers > 0 {
        return Err(Failure::misused(
            "the standard input is one secret's or the guest's, and not several at once",
        ));
    }
    secrets.into_iter().map(SecretArg::read).collect()
}

/// A secret, as it was typed: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`, as `docker build` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SecretArg {
    name: String,
    from: Source,
    readers: SecretReaders,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Input,
    Variable(String),
}

fn secret(text: &str) -> Result<SecretArg, String> {
    let wrong = |why: &str| {
        format!(
            "{why}: write id=NAME,src=FILE, with - for what is typed or piped in, or id=NAME,env=VARIABLE; and mode=0444 for every user of the guest"
        )
    };
    let (mut name, mut from, mut readers) = (None, None, SecretReaders::User);
    for part in text.split(',') {
        // What stands there may be a secret that was typed by mistake: it is not repeated.
        let (key, value) = part.split_once('=').ok_or_else(|| wrong("a part of it is not KEY=VALUE"))?;
        match key {
            "id" if SecretFile::is_name(value) => name = Some(value.to_owned()),
            "id" => return Err(wrong("a name has 1 to 64 letters, digits, `.`, `_`, `-`")),
            "src" | "source" | "env" if from.is_some() => {
                return Err(wrong("its value comes from two places"));
            }
            "src" | "source" if value == "-" => from = Some(Source::Input),
            "src" | "source" => from = Some(Source::File(value.into())),
            "env" => from = Some(Source::Variable(value.to_owned())),
            "mode" => readers = mode(value).ok_or_else(|| wrong("a mode is 0400, 0440 or 0444"))?,
            "type" if value == "file" => {}
            "type" if value == "env" && from.is_none() => {
                return Err(wrong(
                    "a guest finds secrets as files, not in its environment, which every program in it inherits",
                ));
            }
            _ => return Err(wrong("there are id, src, env and mode")),
        }
    }
    let name = name.ok_or_else(|| wrong("it has no name"))?;
    let from = from.ok_or_else(|| wrong("nothing says where its value is"))?;
    Ok(SecretArg { name, from, readers })
}

fn mode(text: &str) -> Option<SecretReaders> {
    match text.trim_start_matches('0') {
        "400" => Some(SecretReaders::User),
        "440" => Some(SecretReaders::Group),
        "444" => Some(SecretReaders::All),
        _ => None,
    }
}

impl SecretArg {
    /// The wish, with the value from where it is.
    fn read(self) -> Result<SecretWish, Failure> {
        let SecretArg { name, from, readers } = self;
        let misused = |why: String| Failure::misused(format!("the secret {name}: {why}"));
        let value = match from {
            Source::File(path) => File::open(&path)
                .and_then(bounded)
                .map_err(|error| misused(format!("cannot read {}: {error}", path.display())))?,
            Source::Input => bounded(io::stdin().lock())
                .map_err(|error| misused(format!("cannot read the standard input: {error}")))?,
            Source::Variable(variable) => {
                use std::os::unix::ffi::OsStringExt;
                let value = env::var_os(&variable);
                Hidden::new(
                    value.ok_or_else(|| misused(format!("there is no variable {variable} here")))?.into_vec(),
                )
            }
        };
        match value.bytes().len() {
            0 => Err(misused("it is empty".to_owned())),
            1..=SecretFile::LARGEST => Ok(SecretWish::of(name, &value, readers)),
            _ => Err(misused("it is larger than the 64 KiB that a secret may have".to_owned())),
        }
    }
}

/// All that is there, or one byte more than a secret may have.
fn bounded(from: impl Read) -> io::Result<Hidden> {
    // Room for all of it: a buffer that grows leaves copies of what it held behind.
    let mut read = Vec::with_capacity(SecretFile::LARGEST + 1);
    from.take(SecretFile::LARGEST as u64 + 1).read_to_end(&mut read)?;
    Ok(Hidden::new(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn told(failure: Failure) -> String {
        match failure {
            Failure::Told { sentence, .. } => sentence,
            Failure::Unread | Failure::Interrupted => String::new(),
        }
    }

    #[test]
    fn a_secret_reads_as_docker_s_does() {
        let arg = |name: &str, from, readers| Ok(SecretArg { name: name.into(), from, readers });
        assert_eq!(secret("id=db,src=./x"), arg("db", Source::File("./x".into()), SecretReaders::User));
        assert_eq!(secret("env=DB,id=db"), arg("db", Source::Variable("DB".into()), SecretReaders::User));
        let all = arg("k.pem", Source::Input, SecretReaders::All);
        assert_eq!(secret("id=k.pem,src=-,mode=0444"), all);
        assert_eq!(secret("type=file,id=k.pem,source=-,mode=444"), all);
    }

    #[test]
    fn what_is_no_secret_is_told_and_not_repeated() {
        for (text, said) in [
            ("pearl", "KEY=VALUE"),
            ("db=pearl", "there are id"),
            ("id=db", "where its value is"),
            ("src=pearl", "no name"),
            ("id=../pearl,src=x", "1 to 64"),
            ("id=db,src=pearl,env=x", "two places"),
            ("id=db,src=pearl,mode=0777", "0444"),
            ("id=db,type=env,env=pearl", "as files"),
            ("", "KEY=VALUE"),
        ] {
            let why = secret(text).unwrap_err();
            assert!(why.contains(said) && !why.contains("pearl"), "{text}: {why}");
        }
    }

    #[test]
    fn a_value_is_there_and_of_a_size_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            secret(&format!("id=db,src={}", path.display())).unwrap().read()
        };
        let value = read(b"pearl\n\xFF").unwrap().read().unwrap().value;
        assert_eq!(value.bytes(), b"pearl\n\xFF", "not a byte of it is taken away");
        assert!(read(b"").map_err(told).unwrap_err().contains("empty"));
        assert!(read(&vec![7; SecretFile::LARGEST]).is_ok());
        assert!(read(&vec![7; SecretFile::LARGEST + 1]).map_err(told).unwrap_err().contains("64 KiB"));
        fs::remove_file(&path).unwrap();
        let missing =
            secret(&format!("id=db,src={}", path.display())).unwrap().read().map_err(told).unwrap_err();
        assert!(missing.contains("the secret db: cannot read"), "{missing}");
        let unset = secret("id=db,env=SUBLET_NO_SUCH_VARIABLE").unwrap().read().map_err(told).unwrap_err();
        assert!(unset.contains("SUBLET_NO_SUCH_VARIABLE"), "{unset}");
    }

    #[test]
    fn the_standard_input_has_one_reader() {
        let two = ["id=a,src=-".to_owned(), "id=b,src=-".to_owned()];
        assert!(secrets(&two, false).map_err(told).unwrap_err().contains("standard input"));
        assert!(secrets(&two[..1], true).map_err(told).unwrap_err().contains("standard input"));
        assert_eq!(secrets(&[], true).unwrap(), []);
        assert!(secrets(&["pearl".to_owned()], false).map_err(told).unwrap_err().starts_with("--secret"));
    }
}
