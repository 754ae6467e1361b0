"""The rnn space: recurrent cells for language models."""
