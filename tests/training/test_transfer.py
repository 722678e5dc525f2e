import pytest
import torch

from charloom.vocabulary import CharacterVocabulary, no_tokens
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from training.checkpoint import Checkpoint
from training.transfer import TransferError, transfer


def trained(config, characters):
    torch.manual_seed(1)
    vocabulary = CharacterVocabulary(characters)
    model = RecurrentModel(config, vocabulary.inputs, vocabulary.size)
    return Checkpoint("epoch1.00_loss1.0000", config, vocabulary, model.state_dict(), {}, {}, no_tokens())


def scores(model, vocabulary, text):
    tokens = torch.tensor([[vocabulary.start, *vocabulary.encode(text).tolist()]]).T
    with torch.no_grad():
        return model.eval()(tokens, model.initial_state(1))[0][:, 0]


@pytest.mark.parametrize("embedding", [0, 6])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_shared_characters_behave_as_before(embedding, cell):
    config = RecurrentConfig(cell=cell, layers=2, cells=9, embedding=embedding)
    source = trained(config, "abcd")
    vocabulary = CharacterVocabulary("xdybca")
    model = RecurrentModel(config, vocabulary.inputs, vocabulary.size)
    said = transfer(source, model, vocabulary)
    assert "4 tokens shared, 2 new, 0 of its own dropped" in said
    old, new = (v.encode("abcd") for v in (source.vocabulary, vocabulary))
    torch.testing.assert_close(
        scores(model, vocabulary, "dacb")[:, new], scores(source.model(), source.vocabulary, "dacb")[:, old]
    )


def test_the_same_vocabulary_is_said_to_be_the_same():
    source = trained(RecurrentConfig(cells=9), "abcd")
    model = RecurrentModel(source.config, 5, 4)
    assert "same vocabulary" in transfer(source, model, source.vocabulary)
    assert all(torch.equal(v, source.weights[k]) for k, v in model.state_dict().items())


def test_no_shared_characters_still_share_the_start():
    source = trained(RecurrentConfig(cells=9), "ab")
    vocabulary = CharacterVocabulary("yz")
    model = RecurrentModel(source.config, 3, 2)
    assert "0 tokens shared, 2 new, 2 of its own dropped" in transfer(source, model, vocabulary)
    assert torch.equal(model.embedding.weight[2], source.weights["embedding.weight"][2])


def test_another_architecture_is_refused():
    source = trained(RecurrentConfig(cells=9), "ab")
    model = RecurrentModel(RecurrentConfig(cells=10), 3, 2)
    with pytest.raises(TransferError, match=r"cells 9.* cells 10"):
        transfer(source, model, source.vocabulary)
