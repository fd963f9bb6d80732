//! Peak rates of GPUs from their makers' data sheets, for estimates and utilisation.

/// One product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuRate {
    /// A part of the driver's product name.
    pub name: &'static str,
    /// Dense bf16 products with f32 sums, floating-point operations per second.
    pub bf16_flops_per_second: f64,
    /// Dense f32 products without reduced precision.
    pub f32_flops_per_second: f64,
}

/// Products in the order in which their names are looked for; the first is the default of plans.
pub const GPUS: [GpuRate; 6] = [
    GpuRate { name: "H100", bf16_flops_per_second: 989e12, f32_flops_per_second: 67e12 },
    GpuRate { name: "H200", bf16_flops_per_second: 989e12, f32_flops_per_second: 67e12 },
    GpuRate { name: "A100", bf16_flops_per_second: 312e12, f32_flops_per_second: 19.5e12 },
    GpuRate { name: "L40S", bf16_flops_per_second: 362e12, f32_flops_per_second: 91.6e12 },
    GpuRate { name: "RTX 4090", bf16_flops_per_second: 165e12, f32_flops_per_second: 82.6e12 },
    GpuRate { name: "RTX 3090", bf16_flops_per_second: 71e12, f32_flops_per_second: 35.6e12 },
];

/// Share of the peak rate that an estimate assumes; nothing was measured on a GPU yet.
pub const ASSUMED_SHARE: f64 = 0.25;

/// The table's row for a product name.
pub fn find(name: &str) -> Option<&'static GpuRate> {
    GPUS.iter().find(|gpu| name.contains(gpu.name))
}

/// Sentence that an estimate for `gpu` carries. `train` computes in f32 on a GPU.
pub fn basis(gpu: &GpuRate) -> String {
    format!(
        "{:.0} % (assumed) of {:.0} TFLOP/s, the data sheet's f32 rate of one {}; evaluation and \
         reading the text not counted; not run on a GPU yet",
        100.0 * ASSUMED_SHARE,
        gpu.f32_flops_per_second / 1e12,
        gpu.name
    )
}
