"""Calls of third-party clients: ``python clients.py URL`` prints JSON. It runs in their environment, without rawbert.

Each function is a test case: it returns the client's answer or its errors. ``given.json`` contains the texts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import openai

_GIVEN = json.loads(Path(__file__).with_name("given.json").read_text(encoding="utf-8"))
TEXTS, DOCUMENTS, QUERY, KEY = (_GIVEN[name] for name in ("texts", "documents", "query", "key"))


def close(one: Any, other: Any) -> bool:
    """Whether vectors are equal within the rounding errors of different batch sizes."""
    return all(abs(a - b) < 2e-6 for a, b in zip(one, other, strict=True))


def openai_base64(url: str) -> Any:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    return [each.embedding for each in client.embeddings.create(model="minilm", input=TEXTS).data]


def openai_floats(url: str) -> Any:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    answer = client.embeddings.create(model="minilm", input=TEXTS, encoding_format="float")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 256
    assert answer.model == "minilm"
    return [each.embedding for each in answer.data]


def openai_async(url: str) -> Any:
    async def main() -> Any:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            answers = await asyncio.gather(*(client.embeddings.create(model="minilm", input=text) for text in TEXTS))
        return [answer.data[0].embedding for answer in answers]

    return asyncio.run(main())


def openai_dimensions(url: str) -> Any:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    return [each.embedding for each in client.embeddings.create(model="alias", input=TEXTS, dimensions=8).data]


def openai_models(url: str) -> Any:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    assert client.models.retrieve("minilm").owned_by == "rawbert"
    return [model.id for model in client.models.list()]


def openai_errors(url: str) -> Any:
    raised = []
    for key, model, given in (
        ("wrong", "minilm", "a"),
        (KEY, "nope", "a"),
        (KEY, "minilm", [[1212, 318]]),
        (KEY, "minilm", []),
        (KEY, "reranker", "a"),
    ):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        try:
            client.embeddings.create(model=model, input=given)
        except openai.APIStatusError as error:
            raised.append([type(error).__name__, error.code, error.param, error.body["message"]])
    return raised


def langchain(url: str) -> Any:
    from langchain_openai import OpenAIEmbeddings

    settings: Any = {"base_url": f"{url}/v1", "api_key": KEY, "model": "minilm", "check_embedding_ctx_length": False}
    embeddings = OpenAIEmbeddings(**settings)
    found = embeddings.embed_documents(TEXTS)
    assert close(embeddings.embed_query(TEXTS[0]), found[0])
    assert all(map(close, OpenAIEmbeddings(**settings, chunk_size=2).embed_documents(TEXTS), found))
    assert asyncio.run(OpenAIEmbeddings(**settings).aembed_documents(TEXTS)) == found
    return found


def llama_index(url: str) -> Any:
    from llama_index.embeddings.openai import OpenAIEmbedding

    embedding = OpenAIEmbedding(api_base=f"{url}/v1", api_key=KEY, model_name="minilm")
    found = embedding.get_text_embedding_batch(TEXTS)
    assert close(embedding.get_text_embedding(TEXTS[0]), found[0])
    assert asyncio.run(embedding.aget_text_embedding_batch(TEXTS)) == found
    return found


def haystack(url: str) -> Any:
    from haystack import Document
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret

    settings: Any = {"api_base_url": f"{url}/v1", "api_key": Secret.from_token(KEY), "model": "minilm"}
    texts = [text for text in TEXTS if text]  # The client does not embed empty documents.
    documents = OpenAIDocumentEmbedder(**settings).run([Document(content=text) for text in texts])["documents"]
    one = OpenAITextEmbedder(**settings).run(TEXTS[0])
    assert close(one["embedding"], documents[0].embedding)
    assert one["meta"]["usage"]["total_tokens"] > 2
    return [document.embedding for document in documents]


def hugging_face(url: str) -> Any:
    from huggingface_hub import AsyncInferenceClient, InferenceClient

    found = InferenceClient(model=f"{url}/embed", token=KEY).feature_extraction(TEXTS)
    for path in ("", "/models/minilm/embed"):
        client = AsyncInferenceClient(model=f"{url}{path}", token=KEY)
        assert (asyncio.run(client.feature_extraction(TEXTS, normalize=True, truncate=True)) == found).all()
    return found.tolist()


def llama_index_tei(url: str) -> Any:
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    embedding = TextEmbeddingsInference(model_name="minilm", base_url=url, auth_token=KEY)
    found = embedding.get_text_embedding_batch(TEXTS)
    assert asyncio.run(embedding.aget_text_embedding_batch(TEXTS)) == found
    return found


def rerankers(url: str) -> Any:
    import cohere
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    asked: Any = {"model": "reranker", "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    found = [[each.index, each.relevance_score] for each in cohere.ClientV2(KEY, base_url=url).rerank(**asked).results]
    old = cohere.Client(KEY, base_url=url).rerank(**asked, return_documents=True)
    assert [[each.index, each.relevance_score] for each in old.results] == found
    assert [each.document.text for each in old.results] == [DOCUMENTS[at] for at, _ in found]
    reranker = TextEmbeddingInference(base_url=url, top_n=len(DOCUMENTS), auth_token=f"Bearer {KEY}")
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(at))) for at, text in enumerate(DOCUMENTS)]
    again = reranker.postprocess_nodes(nodes, QueryBundle(QUERY))
    assert [[int(each.node.node_id), each.score] for each in again] == found
    return found


CASES = (
    openai_base64, openai_floats, openai_async, openai_dimensions, openai_models, openai_errors, langchain, llama_index,
    haystack, hugging_face, llama_index_tei, rerankers,
)  # fmt: skip

if __name__ == "__main__":
    print(json.dumps({case.__name__: case(sys.argv[1]) for case in CASES}))
