"""The requests that other stacks already send: a checkpoint answers in the place of their reward models.

    protocol         the record of a protocol, and of one shape of its requests
    config           the operator's flags
    settings         what they come to
    router           FastAPI's routes for them
    table            all of them
    vllm             `/pooling`, `/classify`, `/score`, `/rerank`; veRL's vLLM engine
    sglang           `/v1/classify`, the native `/classify`, `/v1/score`, `/v1/embeddings`; veRL's SGLang engine
    tei              `/predict`, `/rerank`
    remote_rewards   OpenRLHF, slime, LLaMA-Factory

Where two stacks use one path, the keys of the body decide:

    /classify   `input` or `messages`: vLLM     `text` or `input_ids`: SGLang
    /rerank     `query`, `documents`: vLLM      `query`, `texts`: TEI
    /v1/score   `query`, `items`: SGLang        `text_1`, `data_1` or `queries` with its pair: vLLM
    /reward     `query`: OpenRLHF               `prompt`, `response`: slime         `messages`: LLaMA-Factory

SGLang's `/v1/rerank` sends what vLLM's does and reads another answer; vLLM's is given.
"""
