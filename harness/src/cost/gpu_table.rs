//! Peak rates of GPUs from their makers' data sheets, for utilisation.

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

/// Products.
pub const GPUS: [GpuRate; 7] = [
    GpuRate { name: "H100", bf16_flops_per_second: 989e12, f32_flops_per_second: 67e12 },
    GpuRate { name: "H100 PCIe", bf16_flops_per_second: 756e12, f32_flops_per_second: 51e12 },
    GpuRate { name: "H200", bf16_flops_per_second: 989e12, f32_flops_per_second: 67e12 },
    GpuRate { name: "A100", bf16_flops_per_second: 312e12, f32_flops_per_second: 19.5e12 },
    GpuRate { name: "L40S", bf16_flops_per_second: 362e12, f32_flops_per_second: 91.6e12 },
    GpuRate { name: "RTX 4090", bf16_flops_per_second: 165e12, f32_flops_per_second: 82.6e12 },
    GpuRate { name: "RTX 3090", bf16_flops_per_second: 71e12, f32_flops_per_second: 35.6e12 },
];

/// Words of product names that stand for less than the product in the table: a part of it
/// (multi-instance), and slower ones of nearly the same name.
const OTHERS: [&str; 4] = ["MIG", "Laptop", "D", "NVL"];

/// The table's row for a product name: the longest of those that are part of it.
pub fn find(name: &str) -> Option<&'static GpuRate> {
    if name.split_whitespace().any(|word| OTHERS.contains(&word)) {
        return None;
    }
    GPUS.iter().filter(|gpu| name.contains(gpu.name)).max_by_key(|gpu| gpu.name.len())
}

/// How much of a GPU's data sheet rate a training step uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Utilisation {
    /// Rate of the data sheet for dense f32 products.
    pub peak_flops_per_second: f64,
    /// `model_flops / step_seconds / peak_flops_per_second`.
    pub model_flops_utilisation: f64,
}

/// Utilisation of the GPU called `name` by a step of `model_flops` operations (by the model's
/// definition, so that work done twice does not count) that takes `step_seconds`; `None` if the
/// GPU is not in the table. Against the f32 rate, as no engine trains in another one yet.
pub fn utilisation(name: &str, model_flops: f64, step_seconds: f64) -> Option<Utilisation> {
    let peak_flops_per_second = find(name)?.f32_flops_per_second;
    let model_flops_utilisation = model_flops / step_seconds / peak_flops_per_second;
    Some(Utilisation { peak_flops_per_second, model_flops_utilisation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_utilisation_is_the_share_of_the_f32_rate() {
        // 19.5 TFLOP in two seconds, where two seconds carry 39 TFLOP.
        let half = utilisation("NVIDIA A100-SXM4-80GB", 19.5e12, 2.0).unwrap();
        let expected = Utilisation { peak_flops_per_second: 19.5e12, model_flops_utilisation: 0.5 };
        assert_eq!(half, expected);
        assert_eq!(utilisation("NVIDIA TITAN V", 1e12, 1.0), None);
    }

    #[test]
    fn invariant_gpus_are_found_by_the_names_that_drivers_give() {
        let rows = [
            ("NVIDIA H100 80GB HBM3", Some("H100")),
            ("NVIDIA H100 PCIe", Some("H100 PCIe")),
            ("NVIDIA H100 NVL", None),
            ("NVIDIA H200", Some("H200")),
            ("NVIDIA A100-PCIE-40GB", Some("A100")),
            ("NVIDIA L40S", Some("L40S")),
            ("NVIDIA GeForce RTX 4090", Some("RTX 4090")),
            ("NVIDIA GeForce RTX 4090 D", None),
            ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
            ("NVIDIA L40", None),
        ];
        for (name, expected) in rows {
            assert_eq!(find(name).map(|gpu| gpu.name), expected, "{name}");
        }
        for gpu in GPUS {
            assert_eq!(find(gpu.name).map(|found| found.name), Some(gpu.name));
        }
    }
}
