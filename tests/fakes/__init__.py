"""Stand-ins for language models that work through DSPy's own doors: a scripted LM and a server of OpenAI's protocol."""
