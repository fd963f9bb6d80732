//! A training step in steady state allocates nothing: counted, not claimed. A binary of its own,
//! because it replaces the allocator.
#![expect(unsafe_code, reason = "an allocator that counts is written with unsafe functions")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use harness::benchmark::{StepLoop, Workload};
use harness::config::compute::Compute;
use harness::config::data::{DataConfig, TokenizerConfig, TokenizerKind};
use harness::config::model::{ComputePath, ModelConfig};
use harness::config::train::TrainConfig;
use harness::corpus::{Corpus, CorpusSource, Document, DocumentSplits, Split};
use harness::train::{BatchSource, Observer, RunFolder, StepMetrics, TrainJob, run};
use models::fused::gemm::{Matrix, MatrixMut, Update, multiply};
use models::fused::stage::{self, Stage};
use models::kernels::{Kernel, Sizes, names};
use models::parametrization::Parametrization;
use models::pt2026::{Pt2026Config, Rope};
use models::random::{Purpose, Stream};
use rayon::ThreadPool;

struct Counting;

/// Allocations of threads that are counted, since it was last set to zero.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Held by the test that counts.
static COUNTER: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread computes; what the test harness does beside it is not counted.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of counted threads during `work`.
fn during(work: impl FnOnce()) -> usize {
    ALLOCATIONS.store(0, Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// A pool whose threads are counted and have each packed operands of a product before: the space
/// for them is a thread's own and made at its first product, and a task of the first steps may
/// come to any thread.
fn pool(threads: usize) -> ThreadPool {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = builder.start_handler(|_| COUNTED.set(true)).build().unwrap();
    pool.broadcast(|_| {
        let (x, mut c) = ([1f32; 6], [0f32; 4]);
        let a = Matrix::new(&x, 2, 3);
        multiply(1.0, a, a.transposed(), Update::Replace, MatrixMut::new(&mut c, 2, 2));
    });
    pool
}

/// More than one block of everything that is cut into blocks: entries of the vocabulary,
/// parameters, rows.
fn workloads() -> Vec<(&'static str, Workload)> {
    let (vocab, width, max_length) = (1100, 32, 40);
    let pt = Pt2026Config { vocab, width, iterations: 3, channels: 2, ..Pt2026Config::default() };
    let published = Pt2026Config { rope: Rope::Published, tied: true, ..pt.clone() };
    let bert = baselines::BertConfig { vocab, width, layers: 2, max_length, ..Default::default() };
    let preln = baselines::PreLnConfig { vocab, width, layers: 2, ..Default::default() };
    let ut = baselines::UtConfig { vocab, width, steps: 3, max_length, ..Default::default() };
    let models = [
        ("pt", ModelConfig::Pt(pt)),
        ("pt, published rotation, tied", ModelConfig::Pt(published)),
        ("bert", ModelConfig::Bert(bert)),
        ("preln", ModelConfig::Preln(preln)),
        ("ut", ModelConfig::Ut(ut)),
    ];
    let workload = |model| Workload { model, length: 40, sequences: 12, target_share: 0.15 };
    models.map(|(name, model)| (name, workload(model))).into()
}

/// Batch, loss and gradients, gradient norm, AdamW: the step that `crossscale bench` times.
#[test]
fn invariant_a_step_of_every_fused_engine_allocates_nothing_in_steady_state() {
    let _turn = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    for threads in [1, 2, 3] {
        let pool = pool(threads);
        for (name, workload) in workloads() {
            pool.install(|| {
                for recompute in [false, true] {
                    let compute = Compute { recompute, ..Compute::default() };
                    let mut steps = StepLoop::new(&workload, compute).unwrap();
                    let mut take = |count| (0..count).for_each(|_| steps.step().unwrap());
                    assert!(during(|| take(2)) > 0, "buffers were there before the first step");
                    let count = during(|| take(5));
                    let how = format!("on {threads} threads, recomputing: {recompute}");
                    assert_eq!(count, 0, "{name} {how} allocates in steady state");
                }
            });
        }
        let seen = pool.install(|| during(|| drop(black_box(Vec::<u8>::with_capacity(1)))));
        assert_eq!(seen, 1, "allocations of the pool are counted");
    }
}

const STEPS: u64 = 30;

fn config() -> TrainConfig {
    TrainConfig { steps: STEPS, batch: 8, micro_batches: 2, ..TrainConfig::default() }
}

fn source() -> (CorpusSource, usize) {
    let document = |d: u64| {
        let mut stream = Stream::new(d, Purpose::Test, 0);
        let words: Vec<String> = (0..900).map(|_| format!("w{}", stream.below(200))).collect();
        Document { name: d.to_string(), text: words.join(" ") }
    };
    let splits = DocumentSplits {
        train: (0..20).map(document).collect(),
        validation: (20..22).map(document).collect(),
        test: Vec::new(),
    };
    let tokenizer =
        TokenizerConfig { kind: TokenizerKind::Words, vocab: 300, ..TokenizerConfig::default() };
    let data = DataConfig { length: 32, tokenizer, ..DataConfig::default() };
    let corpus = Arc::new(Corpus::from_documents(&splits, &data, None).unwrap());
    let vocab = corpus.vocabulary().size;
    (CorpusSource::new(corpus, &data, &config(), 5, Split::Validation).unwrap(), vocab)
}

/// Allocations between the ends of two steps.
struct BetweenSteps(Vec<usize>);

impl Observer for BetweenSteps {
    fn step(&mut self, _: &StepMetrics, _: f64) -> harness::Result<()> {
        COUNTED.set(true);
        // There is room: pushing allocates nothing.
        self.0.push(ALLOCATIONS.swap(0, Ordering::Relaxed));
        Ok(())
    }
}

/// The trainer draws the batch, writes a row to two files and does what the step above does. The
/// engine's buffers follow the number of targets, which is random: only a batch with more of them
/// than any before may allocate.
#[test]
fn invariant_the_trainer_allocates_only_for_a_larger_batch() {
    let _turn = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let (source, vocab) = source();
    let pt =
        Pt2026Config { vocab, width: 16, iterations: 2, channels: 2, ..Pt2026Config::default() };
    let model = ModelConfig::Pt(pt);
    let table = Parametrization::built_in("mup").unwrap();
    let built = model.build(&model, &table, ComputePath::Fused, 32).unwrap();
    let (train, folder) = (config(), tempfile::tempdir().unwrap());
    let job = TrainJob {
        engine: built.engine,
        layout: &built.layout,
        resolved: &built.resolved,
        initial_parameters: built
            .resolved
            .initialise(&built.layout, &built.base_layout, 1)
            .unwrap(),
        config: &train,
        source: &source,
        vocab,
        dropout_seed: None,
        threads: 1,
        folder: Some(RunFolder { path: folder.path(), config_hash: "0" }),
        stop: None,
    };
    let mut seen = BetweenSteps(Vec::with_capacity(STEPS as usize));
    run(job, &mut seen).unwrap();
    let targets = |step: u64| {
        let parts = (0..train.micro_batches).map(|part| source.training_batch(step, part));
        parts.map(|batch| batch.targets.len()).max().unwrap()
    };
    // Counting begins with the end of the first step; rows of the files grow by a digit until
    // the tenth.
    let (mut largest, mut checked) = (0, 0);
    for step in 0..STEPS {
        let (count, targets) = (seen.0[step as usize], targets(step));
        if step > 10 && targets <= largest {
            assert_eq!(count, 0, "step {step} with {targets} of {largest} targets");
            checked += 1;
        }
        largest = largest.max(targets);
    }
    assert!(checked > 10, "{checked} steps were no larger than one before");
}

/// What `docs/kernels.md` and `bench --kernel` say a kernel costs is what it does.
#[test]
fn invariant_kernels_carry_out_the_products_that_they_claim_and_allocate_nothing() {
    let _turn = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let sizes = Sizes {
        width: 64,
        channels: 3,
        head_dim: 32,
        vocab: 700,
        length: 24,
        tokens: 96,
        targets: 17,
    };
    pool(1).install(|| {
        for name in names() {
            let mut kernel = Kernel::new(name, &sizes).unwrap();
            stage::record(true);
            stage::take();
            let inside = stage::enter(Stage::Batch);
            let count = during(|| kernel.repeat(2));
            drop(inside);
            stage::record(false);
            let flops: u64 = stage::take().iter().map(|used| used.product_flops).sum();
            assert_eq!(flops, 2 * kernel.cost.product_flops as u64, "{name}");
            assert_eq!(count, 0, "{name} allocates");
        }
    });
}
