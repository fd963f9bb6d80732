//! Launches of committed kernels, random numbers, distances.

use std::path::Path;

use emulator::{DeviceMemory, Fault, Launch, Module, Profile, run};

/// Text of the PTX of `name`.
pub fn ptx(name: &str) -> String {
    use std::io::Read as _;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/kernels/cuda/ptx");
    let packed =
        std::fs::read(folder.join(format!("{name}.ptx.gz"))).expect("the PTX is committed");
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .expect("gzip of text");
    text
}

/// Kernels of `name`.
pub fn module(name: &str) -> Module {
    Module::parse(&ptx(name)).expect("the interpreter knows what the compiler wrote")
}

/// Parameters of a launch, each aligned to its size.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<u8>);

impl Parameters {
    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend(bytes);
        self
    }
    pub fn word(self, value: u32) -> Self {
        self.push(&value.to_le_bytes())
    }
    pub fn long(self, value: u64) -> Self {
        self.push(&value.to_le_bytes())
    }
    pub fn single(self, value: f32) -> Self {
        self.push(&value.to_le_bytes())
    }
    pub fn double(self, value: f64) -> Self {
        self.push(&value.to_le_bytes())
    }
}

/// How a kernel is launched.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub grid: [u32; 2],
    pub threads: u32,
    pub dynamic_shared_bytes: usize,
}

/// Launches kernel `name` of `module`.
pub fn launch(
    module: &Module,
    name: &str,
    shape: Shape,
    parameters: &Parameters,
    memory: &mut DeviceMemory,
) -> Result<Profile, Fault> {
    let kernel = &module.kernels[name];
    let launch = Launch {
        module,
        kernel,
        grid: [shape.grid[0], shape.grid[1], 1],
        block: [shape.threads, 1, 1],
        dynamic_shared_bytes: shape.dynamic_shared_bytes,
        parameters: &parameters.0,
    };
    run(&launch, memory)
}

/// Bytes of numbers, as a device holds them.
pub trait Bytes: Copy {
    const SIZE: usize;
    fn put(self, out: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}
macro_rules! bytes {
    ($($kind:ty)*) => { $(impl Bytes for $kind {
        const SIZE: usize = size_of::<$kind>();
        fn put(self, out: &mut Vec<u8>) { out.extend(self.to_le_bytes()); }
        fn get(bytes: &[u8]) -> Self { Self::from_le_bytes(bytes.try_into().expect("a size")) }
    })* };
}
bytes!(u8 u16 u32 u64 f32 f64);

/// Copies `values` to a new allocation.
pub fn upload<T: Bytes>(memory: &mut DeviceMemory, values: &[T]) -> u64 {
    let mut bytes = Vec::with_capacity(values.len() * T::SIZE);
    for value in values {
        value.put(&mut bytes);
    }
    let address = memory.allocate(bytes.len());
    memory.write_bytes(address, &bytes).expect("a new allocation");
    address
}

/// Copies `count` values back; those that nothing wrote are a fault.
pub fn download<T: Bytes>(
    memory: &mut DeviceMemory,
    address: u64,
    count: usize,
) -> Result<Vec<T>, Fault> {
    let mut bytes = vec![0; count * T::SIZE];
    memory.read_bytes(address, &mut bytes)?;
    Ok(bytes.chunks_exact(T::SIZE).map(T::get).collect())
}

/// A small generator (xorshift64), enough for inputs.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
    /// About normal: a sum of twelve.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// |found - expected| over |expected|, Euclidean.
pub fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut error, mut norm) = (0.0, 0.0);
    for (found, expected) in found.iter().zip(expected) {
        error += (f64::from(*found) - expected).powi(2);
        norm += expected * expected;
    }
    (error / norm.max(f64::MIN_POSITIVE)).sqrt()
}
