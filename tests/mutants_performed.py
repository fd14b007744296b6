"""Faults of what is done: of the coordinator, its office, a node's stay and handler."""

from mutation import SIMULATION, Mutant


PERFORMED = (
    Mutant(
        name="check the office before reading",
        file="membership/mandate.py",
        old=(
            "            entry = await self.store.get(key)\n"
            "            await self.check()\n"
        ),
        new=(
            "            await self.check()\n"
            "            entry = await self.store.get(key)\n"
        ),
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="stop deciding when too much happens",
        file="membership/coordinator.py",
        old="                continue\n            return\n",
        new="                return\n            return\n",
        promise="there is always somebody who decides",
        suite="takeover",
    ),
    Mutant(
        name="write the state unfenced",
        file="membership/mandate.py",
        old=(
            "revision = await self.store.compare_and_set(\n"
            "            self.keys.state, encode(job), expected=self.revision\n"
            "        )"
        ),
        new="revision: int | None = await self.store.put(self.keys.state, encode(job))",
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="claim the state out of office",
        file="membership/mandate.py",
        old="if office is None or office.revision != self.token:",
        new="if office is None:",
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="take over without claiming the state",
        file="membership/mandate.py",
        old=(
            "            revision = await self.store.compare_and_set(\n"
            "                self.keys.state,\n"
            "                encode(job),\n"
            "                expected=entry.revision if entry else ABSENT,\n"
            "            )"
        ),
        new="            revision = entry.revision if entry else ABSENT",
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="overrule an assignment unchecked",
        file="membership/mandate.py",
        old="            await self.check()\n            expected = entry",
        new="            expected = entry",
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="exclude without being in office",
        file="membership/coordinator.py",
        old="                await self.mandate.check()\n                for node_id",
        new="                for node_id",
        promise="an overtaken coordinator changes nothing",
        suite="coordinator",
    ),
    Mutant(
        name="count a failure twice",
        file="membership/effects.py",
        old="failed=job.generation if past else job.failed,",
        new="failed=job.failed,",
        promise="a generation that failed costs one restart",
        suite="rendezvous",
    ),
    Mutant(
        name="seal before the places are written",
        file="membership/coordinator.py",
        old=(
            "        await asyncio.gather(\n"
            "            *(\n"
            "                self._assign("
        ),
        new="        asyncio.gather(\n            *(\n                self._assign(",
        promise="who is sealed in finds its place",
        suite=SIMULATION,
    ),
    Mutant(
        name="leave the keys of a finished job",
        file="membership/coordinator.py",
        old=(
            "            if entry.key not in kept:\n"
            "                await self.store.delete(entry.key)\n"
        ),
        new="            continue\n",
        promise="nothing is left in the store",
        suite="rendezvous",
    ),
    Mutant(
        name="wait for a winner that nobody names",
        file="membership/office.py",
        old="asyncio.timeout(None if stay.holder else CONTEST_AGAIN)",
        new="asyncio.timeout(None)",
        promise="there is always somebody who decides",
        suite="takeover",
    ),
    Mutant(
        name="leave the office to an earlier stay",
        file="membership/office.py",
        old="elif _is_earlier_stay(stay.holder, stay.node_id):",
        new="elif not stay.node_id:",
        promise="there is always somebody who decides",
        suite="takeover",
    ),
    Mutant(
        name="win the office and not take it",
        file="membership/office.py",
        old="        stay.note_office(token, stay.node_id)\n    return token\n",
        new="        stay.note_office(token, stay.node_id)\n    return None\n",
        promise="there is always somebody who decides",
        suite="office",
    ),
    Mutant(
        name="take no office a second time",
        file="membership/office.py",
        old=(
            "if await _coordinator(stay, params, options, token).serve():\n"
            "                    return\n"
        ),
        new=(
            "await _coordinator(stay, params, options, token).serve()\n"
            "                return\n"
        ),
        promise="there is always somebody who decides",
        suite="takeover",
    ),
    Mutant(
        name="miss what happens when too much does",
        file="membership/stay.py",
        old="            since = await self._read()\n            self._wake()\n",
        new=(
            "            since = (await self.store.list(self.keys.job)).revision\n"
            "            self._wake()\n"
        ),
        promise="nobody waits for what has happened",
        suite="takeover",
    ),
    Mutant(
        name="ignore the fencing token of a place",
        file="membership/stay.py",
        old="(place.generation, assignment.token) == (job.generation, job.token)",
        new="place.generation == job.generation",
        promise="a place counts if its coordinator sealed it",
        suite="stay",
    ),
    Mutant(
        name="do not wake who waits for news",
        file="membership/stay.py",
        old=(
            "self._apply(event.key, event.value, event.revision)\n"
            "                        self._wake()\n"
        ),
        new="self._apply(event.key, event.value, event.revision)\n",
        promise="nobody waits for what has happened",
        suite="takeover",
    ),
    Mutant(
        name="overlook that the coordinator is gone",
        file="membership/stay.py",
        old='decode(Holder, key, value).node if value else "")',
        new="decode(Holder, key, value).node if value else self.holder)",
        promise="another node decides when the coordinator is lost",
        suite="takeover",
    ),
    Mutant(
        name="take old news of the office for new",
        file="membership/stay.py",
        old="if revision >= self.office_revision:",
        new="if revision:",
        promise="there is always somebody who decides",
        suite="office",
    ),
    Mutant(
        name="leave without a word",
        file="membership/stay.py",
        old="        await self.lease.revoke()\n",
        new="",
        promise="who leaves is not waited for",
        suite="rendezvous",
    ),
    Mutant(
        name="take another store for the old one",
        file="membership/access.py",
        old="            self.on_open()\n",
        new="",
        promise="the survivors form the job again in another store",
        suite="rendezvous",
    ),
    Mutant(
        name="be ready and forget the failures",
        file="membership/rendezvous.py",
        old="await self._say(stay, NodePhase.READY, stay.stopped)",
        new="await stay.say(NodePhase.READY, stay.stopped)",
        promise="no failure is lost",
        suite="rendezvous",
    ),
    Mutant(
        name="repeat the failures of an earlier generation",
        file="membership/rendezvous.py",
        old="self._membership, self._account = membership, Account()",
        new="self._membership = membership",
        promise="a generation that failed costs one restart",
        suite="rendezvous",
    ),
    Mutant(
        name="stay when excluded",
        file="membership/joining.py",
        old="if not await stay.is_known():",
        new="if await stay.is_known() is None:",
        promise="a node that was excluded comes back as a new one",
        suite="rendezvous",
    ),
    Mutant(
        name="keep silent after missed generations",
        file="membership/joining.py",
        old="and job.generation > stay.stopped + 1\n",
        new="and job.generation > stay.stopped + 1000\n",
        promise="nobody is waited for who runs nothing",
        suite="rendezvous",
    ),
    Mutant(
        name="hear nothing after a newer generation",
        file="membership/news.py",
        old="if change and change.kind is not ChangeKind.SUPERSEDED:",
        new="if change:",
        promise="a lost lease is heard of in every state",
        suite="rendezvous",
    ),
    Mutant(
        name="stop at leisure when the lease is lost",
        file="membership/news.py",
        old=", grace=self.fence_grace",
        new="",
        promise="a node that is fenced stops before others go on",
        suite="rendezvous",
    ),
    Mutant(
        name="let a later outcome win",
        file="membership/stay.py",
        old="            if job.phase is JobPhase.CLOSED:\n                return\n",
        new="",
        promise="the first outcome stays",
        suite="rendezvous",
    ),
    Mutant(
        name="join with settings of one's own",
        file="membership/stay.py",
        old="        if differing:\n",
        new="        if differing and job is None:\n",
        promise="all members have the job's settings",
        suite="rendezvous",
    ),
    Mutant(
        name="take whom another assigned for a member",
        file="membership/members.py",
        old="(place.generation, given.token) == sealed",
        new="place.generation == sealed[0]",
        promise="only members may use the workers' store",
        suite="members",
    ),
    Mutant(
        name="take who has stopped for running",
        file="membership/members.py",
        old="not in {NodePhase.READY, NodePhase.DONE}",
        new="is not NodePhase.DONE",
        promise="the workers' store is closed after the last worker",
        suite="members",
    ),
    Mutant(
        name="take who has not begun for stopped",
        file="membership/members.py",
        old="return record.generation < self.generation",
        new="return record.generation > self.generation",
        promise="the workers' store is open while a worker runs",
        suite="members",
    ),
    Mutant(
        name="close the workers' store when leaving",
        file="agent/meeting.py",
        old="if self.bootstrap.is_open and self._over_since is not None:",
        new="if self.bootstrap.is_open and self._over_since is None:",
        promise="the workers' store is open while a worker runs",
        suite=SIMULATION,
    ),
    Mutant(
        name="close the workers' store while others stop",
        file="agent/meeting.py",
        old="            await self.handler.others_stopped()\n        except",
        new="            await asyncio.sleep(0)\n        except",
        promise="the workers' store is open while a worker runs",
        suite=SIMULATION,
    ),
    Mutant(
        name="keep the workers' store while waiting",
        file="agent/meeting.py",
        old="if not self.bootstrap.is_open:",
        new="if self.bootstrap.is_open:",
        promise="the workers' store is closed after the last worker",
        suite=SIMULATION,
    ),
    Mutant(
        name="announce again what is known",
        file="membership/notices.py",
        old="(_is_over(stay, generation) or _is_known(stay, known, generation))",
        new="_is_over(stay, generation)",
        promise="what all nodes are told at once is one notice",
        suite="notices",
    ),
    Mutant(
        name="overwrite what a later generation was told",
        file="membership/notices.py",
        old="    if known.generation > generation:\n        return True\n",
        new="",
        promise="a notice is about one generation",
        suite="notices",
    ),
    Mutant(
        name="hear the notices of other generations",
        file="membership/notices.py",
        old="if record is None or record.generation != self.generation:",
        new="if record is None:",
        promise="a notice is about one generation",
        suite="notices",
    ),
    Mutant(
        name="say again without the preemption",
        file="membership/rendezvous.py",
        old="account = Account(preempted=self._account.preempted)",
        new="account = Account()",
        promise="workers that end for a preemption end the job",
        suite="rendezvous",
    ),
)
