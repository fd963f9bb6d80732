//! Time of each kernel of a training step on one thread, at the sizes of the reference workload
//! (width 128, length 128, batch 16, vocabulary 8192, 15 % targets) and at width 256.
//!
//! `cargo bench -p crossscale-tests --bench kernels`; how to keep and compare baselines, and what
//! the numbers were, is in `docs/kernels.md`.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use models::kernels::{Kernel, Sizes, names};

const WIDTHS: [usize; 2] = [128, 256];

fn kernels(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one");
    let mut group = criterion.benchmark_group("kernel");
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for width in WIDTHS {
        let sizes = Sizes {
            width,
            channels: 10,
            head_dim: 32,
            vocab: 8192,
            length: 128,
            tokens: 2048,
            targets: 308,
        };
        for name in names() {
            let mut kernel = Kernel::new(name, &sizes).expect("sizes of a step");
            let amount = match kernel.cost.product_flops {
                0 => Throughput::Bytes(size_of::<f32>() as u64 * kernel.cost.floats as u64),
                flops => Throughput::Elements(flops as u64),
            };
            group.throughput(amount);
            group.bench_function(BenchmarkId::new(name, width), |bencher| {
                pool.install(|| bencher.iter(|| kernel.repeat(1)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
