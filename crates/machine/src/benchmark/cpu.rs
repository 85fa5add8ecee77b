//! The processor: how many events of a fixed mix of work it does in a second.
//!
//! One event is four pieces of work that take about as long as each other on a processor of 2024, and together some
//! two milliseconds: trial division (branches, integer division; the work of `sysbench cpu`), a hash of 320 KiB (adding,
//! rotating, mixing; no special instructions), a sort of 8,192 numbers (branches that cannot be foretold, caches),
//! and a product of matrices of 136 x 136 (floating point, which a compiler can do several at a time). Nothing in it
//! depends on the operating system, and all of it gives the same result on every machine.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use super::{MeasureError, Until};

/// Primes are counted below this.
const PRIMES: u64 = 15_000;
/// 32-bit words to hash.
const WORDS: usize = 80 << 10;
/// Numbers to sort.
const NUMBERS: usize = 8 << 10;
/// Rows and columns.
const MATRIX: usize = 136;

/// What an event gives. Floating point is exact to the bit everywhere, as Rust never rounds otherwise than IEEE 754 says.
const RESULT: u64 = 0x8be1_bfd8_3bd9_7bed;

/// Thousandths of an event per second, of so many threads together.
pub(super) fn rate(threads: usize, until: &Until<'_>) -> Result<u64, MeasureError> {
    let rates = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| worker(until))).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect::<Result<Vec<f64>, MeasureError>>()
    })?;
    Ok((rates.iter().sum::<f64>() * 1000.0) as u64)
}

/// Events per second on this thread: whole events over the time that they took.
fn worker(until: &Until<'_>) -> Result<f64, MeasureError> {
    let mut bench = Workbench::new();
    bench.event()?; // fetches the code, wakes the core
    let begun = Instant::now();
    let (mut events, mut took) = (0_u64, Duration::ZERO);
    while events == 0 || !until.is_over() {
        bench.event()?;
        events += 1;
        took = begun.elapsed();
    }
    Ok(events as f64 / took.as_secs_f64())
}

/// The memory that an event works in: 830 KiB, so that it stays in the caches of the core.
struct Workbench {
    words: Vec<u32>,
    numbers: Vec<u64>,
    a: Vec<f64>,
    b: Vec<f64>,
    product: Vec<f64>,
}

impl Workbench {
    fn new() -> Workbench {
        let mut chance = Xorshift(0x9e37_79b9_7f4a_7c15);
        let mut matrix =
            || (0..MATRIX * MATRIX).map(|_| (chance.next() >> 40) as f64 / 1024.0).collect::<Vec<f64>>();
        let (a, b) = (matrix(), matrix());
        let words = (0..WORDS).map(|_| chance.next() as u32).collect();
        Workbench { words, numbers: vec![0; NUMBERS], a, b, product: vec![0.0; MATRIX * MATRIX] }
    }

    fn event(&mut self) -> Result<(), MeasureError> {
        let found = self.compute();
        if found == RESULT { Ok(()) } else { Err(MeasureError::Miscomputed { expected: RESULT, found }) }
    }

    fn compute(&mut self) -> u64 {
        let primes = count_primes(black_box(PRIMES));
        let hash = hash(black_box(&self.words));
        let sorted = sort(black_box(&mut self.numbers));
        let product = multiply(black_box(&self.a), black_box(&self.b), &mut self.product);
        primes ^ hash.rotate_left(16) ^ sorted.rotate_left(32) ^ product.rotate_left(48)
    }
}

/// How many primes there are from 3 to below `limit`, by the plainest way: the event of `sysbench cpu`, loop for loop.
#[inline(never)]
pub fn count_primes(limit: u64) -> u64 {
    let mut primes = 0;
    for candidate in 3..limit {
        let root = (candidate as f64).sqrt() as u64;
        let mut divisor = 2;
        while divisor <= root && candidate % divisor != 0 {
            divisor += 1;
        }
        primes += u64::from(divisor > root);
    }
    primes
}

/// A hash in the manner of BLAKE3 (its mixing function, seven rounds for each sixteen words), without its tree.
#[inline(never)]
fn hash(words: &[u32]) -> u64 {
    let mut state: [u32; 16] = std::array::from_fn(|n| 0x9e37_79b9_u32.wrapping_mul(n as u32 + 1));
    for block in words.chunks_exact(16) {
        for round in 0..7 {
            for lane in 0..4 {
                let (m, column) = ((lane + round) * 2 % 16, [lane, lane + 4, lane + 8, lane + 12]);
                mix(&mut state, column, block[m], block[m + 1]);
            }
            for lane in 0..4 {
                let m = (lane + round) * 2 % 16;
                let diagonal = [lane, 4 + (lane + 1) % 4, 8 + (lane + 2) % 4, 12 + (lane + 3) % 4];
                mix(&mut state, diagonal, block[m + 1], block[m]);
            }
        }
    }
    state.iter().fold(0, |sum: u64, word| sum.rotate_left(7) ^ u64::from(*word))
}

#[inline(always)]
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(x);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(y);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}

/// A heap sort of our own: the library's sort gets better with each compiler, and the figures with it.
#[inline(never)]
fn sort(numbers: &mut [u64]) -> u64 {
    let mut chance = Xorshift(1);
    numbers.iter_mut().for_each(|number| *number = chance.next());
    for root in (0..numbers.len() / 2).rev() {
        sift_down(numbers, root);
    }
    for end in (1..numbers.len()).rev() {
        numbers.swap(0, end);
        sift_down(&mut numbers[..end], 0);
    }
    numbers.iter().step_by(97).fold(0, |sum: u64, number| sum.rotate_left(5) ^ number)
}

fn sift_down(heap: &mut [u64], mut root: usize) {
    loop {
        let mut child = 2 * root + 1;
        if child >= heap.len() {
            return;
        }
        if child + 1 < heap.len() && heap[child] < heap[child + 1] {
            child += 1;
        }
        if heap[root] >= heap[child] {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

/// `product = a * b`, row by row, so that the inner loop runs along both.
#[inline(never)]
fn multiply(a: &[f64], b: &[f64], product: &mut [f64]) -> u64 {
    product.fill(0.0);
    for (row, out) in a.chunks_exact(MATRIX).zip(product.chunks_exact_mut(MATRIX)) {
        for (factor, line) in row.iter().zip(b.chunks_exact(MATRIX)) {
            for (sum, value) in out.iter_mut().zip(line) {
                *sum += factor * value;
            }
        }
    }
    product.iter().step_by(89).fold(0, |sum: u64, value| sum.rotate_left(3) ^ value.to_bits())
}

/// Marsaglia's generator: the same numbers everywhere.
pub(super) struct Xorshift(pub(super) u64);

impl Xorshift {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_does_what_it_says() {
        assert_eq!(count_primes(10), 3); // 3, 5, 7
        assert_eq!(count_primes(10_000), 1_228);
        let mut numbers = vec![0; 1_000];
        sort(&mut numbers);
        assert!(numbers.is_sorted() && numbers[0] != numbers[999]);
        let mut identity = vec![0.0; MATRIX * MATRIX];
        (0..MATRIX).for_each(|n| identity[n * MATRIX + n] = 1.0);
        let bench = Workbench::new();
        let mut product = vec![0.0; MATRIX * MATRIX];
        multiply(&identity, &bench.b, &mut product);
        assert_eq!(product, bench.b);
        let mut words = bench.words;
        let before = hash(&words);
        words[0] ^= 1;
        assert_ne!(hash(&words), before);
    }

    #[test]
    fn an_event_gives_the_same_everywhere() {
        let mut bench = Workbench::new();
        assert_eq!(bench.compute(), RESULT);
        assert_eq!(bench.compute(), RESULT);
    }
}
