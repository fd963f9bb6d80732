//! Time of one loss-and-gradients call of the 2026 model: fused and reference path, beside the
//! rate of one matrix product of the step. `cargo bench -p crossscale-tests --bench step`.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use models::batch::{Batch, Target};
use models::engine::Engine;
use models::family::{FamilyConfig, Parametrised, parametrise};
use models::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use models::parametrization::Parametrization;
use models::pt2026::{FusedPt2026, Pt2026, Pt2026Config};
use models::random::{Purpose, Stream};
use models::reference::ReferenceEngine;

/// Share of positions that are predicted.
const TARGET_SHARE: f64 = 0.15;

/// Size of one workload.
struct Workload {
    width: usize,
    vocab: usize,
    sequences: usize,
    length: usize,
}

/// The speed target's workload, its double width, and one of the default experiment.
const WORKLOADS: [Workload; 3] = [
    Workload { width: 128, vocab: 8192, sequences: 16, length: 128 },
    Workload { width: 256, vocab: 8192, sequences: 16, length: 128 },
    Workload { width: 64, vocab: 1024, sequences: 16, length: 64 },
];

struct Prepared {
    built: Parametrised<Pt2026>,
    parameters: Vec<f32>,
    batch: Batch,
    name: String,
}

fn prepare(size: &Workload) -> Prepared {
    let config = Pt2026Config { vocab: size.vocab, width: size.width, ..Pt2026Config::default() };
    let table = Parametrization::built_in("mup").expect("a built-in table");
    let built = parametrise(&config, &config, &table).expect("a valid shape");
    let layout = config.layout().expect("a valid shape");
    let parameters =
        built.resolved.initialise(&layout, &built.base_layout, 1).expect("the same layout");
    let mut stream = Stream::new(1, Purpose::Test, 0);
    let tokens = size.sequences * size.length;
    let ids: Vec<u32> = (0..tokens).map(|_| stream.below(size.vocab as u64) as u32).collect();
    let masked: Vec<usize> = (0..tokens).filter(|_| stream.unit() < TARGET_SHARE).collect();
    let target = |&at: &usize| Target { position: at as u32, label: ids[at] };
    let targets = masked.iter().map(target).collect();
    let name = format!("N{} V{} {}x{}", size.width, size.vocab, size.sequences, size.length);
    let (sequences, length) = (size.sequences, size.length);
    let batch = Batch { ids, attention: None, targets, sequences, length, dropout: None };
    Prepared { built, parameters, batch, name }
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pt step");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for size in &WORKLOADS {
        let Prepared { built, parameters, batch, name } = prepare(size);
        let mut gradients = vec![0f32; parameters.len()];
        group.throughput(Throughput::Elements(batch.ids.len() as u64));
        let mut fused = FusedPt2026::new(&built.model, &built.resolved).expect("supported");
        for threads in [1, 2] {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = builder.build().expect("a small pool");
            let id = BenchmarkId::new(format!("fused, {threads} threads"), &name);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    pool.install(|| fused.loss_and_gradients(&parameters, &batch, &mut gradients))
                });
            });
        }
        let mut reference =
            ReferenceEngine::new(built.model, built.resolved, DType::F32, Device::Cpu);
        group.bench_function(BenchmarkId::new("reference", &name), |bencher| {
            bencher.iter(|| reference.loss_and_gradients(&parameters, &batch, &mut gradients));
        });
    }
    group.finish();
}

/// `x W^T` of one lane of the first workload: the yardstick for the share of the product's rate.
/// Throughput is in floating-point operations.
fn product(criterion: &mut Criterion) {
    let (rows, columns, depth) = (256, 1152, 128);
    let (a, b) = (vec![0.5f32; rows * depth], vec![0.5f32; depth * columns]);
    let mut c = vec![0f32; rows * columns];
    let mut group = criterion.benchmark_group("product");
    group.throughput(Throughput::Elements(2 * (rows * columns * depth) as u64));
    group.bench_function(format!("{rows}x{columns}x{depth}"), |bencher| {
        bencher.iter(|| {
            let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
            let c = MatrixMut::new(black_box(&mut c), rows, columns);
            multiply(1.0, a, b, Update::Replace, c);
        });
    });
    group.finish();
}

criterion_group!(benches, product, steps);
criterion_main!(benches);
