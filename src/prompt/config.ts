/** Section `models` of the configuration. */
import { z } from 'zod'

const modelEntrySchema = z.strictObject({
  name: z.string().min(1).max(256).describe('Name of the model, as clients and nodes spell it.'),
  tokenizer: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Directory with tokenizer.json and tokenizer_config.json, or "toy" for simulated nodes. ' +
        'Left out: prompts are keyed by their text, without KV events.',
    ),
})

export const modelsSchema = z
  .array(modelEntrySchema)
  .default([])
  .describe('What the gateway knows of models beyond what nodes say.')
