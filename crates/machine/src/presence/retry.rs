//! A line to something that may come and go: made when needed, and after a failure not made again for a while.

use std::time::{Duration, Instant};

/// How long a failure stands.
const PAUSE: Duration = Duration::from_secs(15);

/// A line that may break.
pub struct Retry<T> {
    line: Option<T>,
    failed: Option<(Instant, String)>,
}

impl<T> Default for Retry<T> {
    fn default() -> Retry<T> {
        Retry { line: None, failed: None }
    }
}

impl<T> Retry<T> {
    /// Uses the line, which is made if there is none.
    pub fn with<R>(
        &mut self,
        open: impl FnOnce() -> Result<T, String>,
        ask: impl FnOnce(&mut T) -> Result<R, String>,
    ) -> Result<R, String> {
        if let Some((at, why)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(why.clone());
        }
        let line = match self.line.take() {
            Some(line) => Ok(line),
            None => open(),
        };
        let asked = line.and_then(|mut line| ask(&mut line).map(|answer| (line, answer)));
        match asked {
            Ok((line, answer)) => {
                (self.line, self.failed) = (Some(line), None);
                Ok(answer)
            }
            Err(why) => {
                self.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_is_not_tried_at_each_look() {
        let (mut opened, mut retry) = (0, Retry::default());
        for _ in 0..5 {
            let asked = retry.with(
                || {
                    opened += 1;
                    Ok(7)
                },
                |_| Err::<(), _>("it hung up".to_owned()),
            );
            assert_eq!(asked, Err("it hung up".to_owned()));
        }
        assert_eq!(opened, 1);
    }
}
