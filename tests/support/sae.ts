/** Sparse autoencoders in plain float64 code, the reference of the GPU's. */

/** One vanilla SAE; matrices row-major with one row a feature. */
export interface PlainSae {
  features: number;
  width: number;
  encoder: Float64Array;
  encoderBias: Float64Array;
  decoder: Float64Array;
  decoderBias: Float64Array;
}

export function referenceEncode(sae: PlainSae, x: ArrayLike<number>): number[] {
  return Array.from({ length: sae.features }, (_, f) => {
    let sum = sae.encoderBias[f]!;
    for (let k = 0; k < sae.width; k++) sum += (x[k]! - sae.decoderBias[k]!) * sae.encoder[f * sae.width + k]!;
    return Math.max(0, sum);
  });
}

export function referenceDecode(sae: PlainSae, codes: ArrayLike<number>): number[] {
  return Array.from({ length: sae.width }, (_, k) => {
    let sum = sae.decoderBias[k]!;
    for (let f = 0; f < sae.features; f++) sum += codes[f]! * sae.decoder[f * sae.width + k]!;
    return sum;
  });
}

/** mean ‖x − x̂‖² + λ mean Σ f */
export function referenceLoss(sae: PlainSae, x: readonly ArrayLike<number>[], l1: number): number {
  let loss = 0;
  for (const row of x) {
    const codes = referenceEncode(sae, row);
    const back = referenceDecode(sae, codes);
    for (let k = 0; k < sae.width; k++) loss += (back[k]! - row[k]!) ** 2;
    for (const f of codes) loss += l1 * f;
  }
  return loss / x.length;
}

/** Gradients of `referenceLoss` by the chain rule, everything dense. */
export function referenceGradients(sae: PlainSae, x: readonly ArrayLike<number>[], l1: number): Omit<PlainSae, 'features' | 'width'> {
  const { features: F, width: d } = sae;
  const out = { encoder: new Float64Array(F * d), encoderBias: new Float64Array(F), decoder: new Float64Array(F * d), decoderBias: new Float64Array(d) };
  const n = x.length;
  for (const row of x) {
    const codes = referenceEncode(sae, row);
    const error = referenceDecode(sae, codes).map((v, k) => v - row[k]!);
    for (let k = 0; k < d; k++) out.decoderBias[k]! += (2 / n) * error[k]!;
    for (let f = 0; f < F; f++) {
      if (codes[f]! <= 0) continue;
      let g = l1 / n;
      for (let k = 0; k < d; k++) {
        g += (2 / n) * error[k]! * sae.decoder[f * d + k]!;
        out.decoder[f * d + k]! += (2 / n) * error[k]! * codes[f]!;
      }
      out.encoderBias[f]! += g;
      for (let k = 0; k < d; k++) {
        out.encoder[f * d + k]! += g * (row[k]! - sae.decoderBias[k]!);
        out.decoderBias[k]! -= g * sae.encoder[f * d + k]!;
      }
    }
  }
  return out;
}
