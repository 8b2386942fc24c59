"""temporary"""
from __future__ import annotations
from datetime import UTC, datetime, timedelta
from typing import Any
import httpx
from delegation.gateway.models import *
from delegation.models import DelegationToken, Proof, Region
from delegation.errors import *
class Gateway:
    def __init__(self, base_url: str, client_key: str, access_token: str, *, region: Region = "international") -> None:
        self.base_url=base_url; self.region: Region=region; self.requests=0
        self._c=httpx.AsyncClient(base_url=base_url, headers={"x-client-key":client_key,"authorization":f"Bearer {access_token}","x-us-env":"false"}, timeout=30)
    async def _r(self, m: str, p: str, **k: Any) -> Any:
        self.requests+=1
        try: r=await self._c.request(m,p,**k)
        except httpx.TransportError as e: raise GatewayUnreachableError(str(e))
        if r.status_code>=500: raise PlatformFailedError(r.text,status=r.status_code)
        if r.status_code>=400: raise RejectedError(r.text,status=r.status_code)
        return r
    async def get_networks(self) -> PlatformConfig:
        d=(await self._r("GET","/v1/delegation/chain/config")).json()
        return PlatformConfig(networks=tuple(PlatformNetwork(network=n["network"],environment=n["environment"],chain_id=n["chainId"],delegation_contract=n["delegationContract"],tokens=n["tokens"]) for n in d["networks"] if "tokens" in n))
    async def get_delegation_token(self,*,address: str,network: str,faucet: bool=False) -> DelegationToken:
        d=(await self._r("GET","/v1/delegation/token",params={"address":address,"network":network,**({"faucet":"true"} if faucet else {})})).json()
        n=datetime.now(UTC)
        return DelegationToken(token=d["token"],nonce=d["nonce"],obtained_at=n,expires_at=n+timedelta(minutes=10))
    async def submit_proof(self,family: str,proof: Proof) -> int:
        return (await self._r("POST",f"/v1/delegation/{family}/post-approval",json=proof.wire())).status_code
    async def get_external_wallets(self) -> tuple[ExternalWallet,...]:
        return tuple(ExternalWallet(**w) for w in (await self._r("GET","/v1/wallet/external")).json())
    async def get_wallets(self) -> tuple[PlatformWallet,...]:
        p={(w["address"].lower(),w["currency"],w["network"]):w for w in (await self._r("GET","/v1/wallet/external/priority")).json()}
        return tuple(PlatformWallet(**w.model_dump(),id=p[(w.address.lower(),w.currency,w.network)]["id"],priority=p[(w.address.lower(),w.currency,w.network)]["priority"]) for w in await self.get_external_wallets())
    async def set_priorities(self,order: Any) -> None:
        w=sorted(await self.get_wallets(),key=lambda w:w.priority or 0)
        ids=[*order,*(x.id for x in w if x.id not in order)]
        await self._r("PUT","/v1/wallet/external/priority",json={"wallets":[{"id":i,"priority":n} for n,i in enumerate(ids,1)]})
    async def aclose(self) -> None: await self._c.aclose()
