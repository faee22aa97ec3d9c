"""callmeter: place, answer and meter real SIP calls from asyncio."""
