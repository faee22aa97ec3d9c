"""An endpoint that does one thing wrong on purpose.

```python
async with MisbehavingEndpoint(config, Misbehaviour.ALTERED_KEY) as mallory:
    async with alice.call(str(mallory.contact)) as call:
        ...
```
"""

from callmeter.testing.misbehaviour.endpoint import MisbehavingEndpoint
from callmeter.testing.misbehaviour.kinds import Misbehaviour

__all__ = ["MisbehavingEndpoint", "Misbehaviour"]
