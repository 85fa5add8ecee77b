//! The steps by which the database came to its present shape: numbered, each one file, none ever changed.

use crate::StoreError;
use rusqlite::{Connection, TransactionBehavior};

const STEPS: [&str; 4] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_settled.sql"),
    include_str!("migrations/0003_earning.sql"),
    include_str!("migrations/0004_measured.sql"),
];

/// The version that this program reads and writes.
pub(crate) const KNOWN: u32 = STEPS.len() as u32;

/// Takes a database of any older version to the present one, step by step, each whole or not at all. Says whether there
/// was one, whose tables do not know yet what its record says.
pub(crate) fn run(connection: &mut Connection) -> Result<bool, StoreError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))?;
    if found > KNOWN {
        return Err(StoreError::Newer { found, known: KNOWN });
    }
    for (step, version) in STEPS.iter().zip(1..).skip(found as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok((1..KNOWN).contains(&found))
}
