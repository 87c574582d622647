from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EdgeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM: _ClassVar[EdgeType]
    BATCH: _ClassVar[EdgeType]

class ValueType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOOL: _ClassVar[ValueType]
    INT: _ClassVar[ValueType]
    DOUBLE: _ClassVar[ValueType]
    STRING: _ClassVar[ValueType]
    DURATION: _ClassVar[ValueType]

class Policy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRICT: _ClassVar[Policy]
    UPSTREAM: _ClassVar[Policy]
    KEY: _ClassVar[Policy]

class HostKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECT: _ClassVar[HostKind]
    KAPACITOR: _ClassVar[HostKind]
    RUN: _ClassVar[HostKind]

class Can(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRICS: _ClassVar[Can]
    READ: _ClassVar[Can]
    WRITE: _ClassVar[Can]

class Fate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MARKED: _ClassVar[Fate]
    WAITS: _ClassVar[Fate]
    REMOVED: _ClassVar[Fate]

class FindingKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOPPED: _ClassVar[FindingKind]
    LOG: _ClassVar[FindingKind]
    CATALOG: _ClassVar[FindingKind]
    DAMAGED: _ClassVar[FindingKind]
    UNREADABLE: _ClassVar[FindingKind]
    MISSING: _ClassVar[FindingKind]
    UNLISTED: _ClassVar[FindingKind]
STREAM: EdgeType
BATCH: EdgeType
BOOL: ValueType
INT: ValueType
DOUBLE: ValueType
STRING: ValueType
DURATION: ValueType
STRICT: Policy
UPSTREAM: Policy
KEY: Policy
DIRECT: HostKind
KAPACITOR: HostKind
RUN: HostKind
METRICS: Can
READ: Can
WRITE: Can
MARKED: Fate
WAITS: Fate
REMOVED: Fate
STOPPED: FindingKind
LOG: FindingKind
CATALOG: FindingKind
DAMAGED: FindingKind
UNREADABLE: FindingKind
MISSING: FindingKind
UNLISTED: FindingKind

class Request(_message.Message):
    __slots__ = ("info", "init", "keepalive", "snapshot", "restore", "begin", "point", "end", "welcome", "closing", "head", "chunk", "page", "result", "fault", "credit", "joined", "restart")
    INFO_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CLOSING_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    info: InfoRequest
    init: InitRequest
    keepalive: KeepaliveRequest
    snapshot: SnapshotRequest
    restore: RestoreRequest
    begin: BeginBatch
    point: Point
    end: EndBatch
    welcome: Welcome
    closing: Closing
    head: Head
    chunk: Chunk
    page: Page
    result: Result
    fault: Fault
    credit: Credit
    joined: Joined
    restart: Restart
    def __init__(self, info: _Optional[_Union[InfoRequest, _Mapping]] = ..., init: _Optional[_Union[InitRequest, _Mapping]] = ..., keepalive: _Optional[_Union[KeepaliveRequest, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotRequest, _Mapping]] = ..., restore: _Optional[_Union[RestoreRequest, _Mapping]] = ..., begin: _Optional[_Union[BeginBatch, _Mapping]] = ..., point: _Optional[_Union[Point, _Mapping]] = ..., end: _Optional[_Union[EndBatch, _Mapping]] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., closing: _Optional[_Union[Closing, _Mapping]] = ..., head: _Optional[_Union[Head, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., page: _Optional[_Union[Page, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., fault: _Optional[_Union[Fault, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., joined: _Optional[_Union[Joined, _Mapping]] = ..., restart: _Optional[_Union[Restart, _Mapping]] = ...) -> None: ...

class Response(_message.Message):
    __slots__ = ("info", "init", "keepalive", "snapshot", "restore", "error", "begin", "point", "end", "hello", "goodbye", "call", "chunk", "commit", "cancel", "credit")
    INFO_FIELD_NUMBER: _ClassVar[int]
    INIT_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESTORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    info: InfoResponse
    init: InitResponse
    keepalive: KeepaliveResponse
    snapshot: SnapshotResponse
    restore: RestoreResponse
    error: ErrorResponse
    begin: BeginBatch
    point: Point
    end: EndBatch
    hello: Hello
    goodbye: Goodbye
    call: Call
    chunk: Chunk
    commit: Commit
    cancel: Cancel
    credit: Credit
    def __init__(self, info: _Optional[_Union[InfoResponse, _Mapping]] = ..., init: _Optional[_Union[InitResponse, _Mapping]] = ..., keepalive: _Optional[_Union[KeepaliveResponse, _Mapping]] = ..., snapshot: _Optional[_Union[SnapshotResponse, _Mapping]] = ..., restore: _Optional[_Union[RestoreResponse, _Mapping]] = ..., error: _Optional[_Union[ErrorResponse, _Mapping]] = ..., begin: _Optional[_Union[BeginBatch, _Mapping]] = ..., point: _Optional[_Union[Point, _Mapping]] = ..., end: _Optional[_Union[EndBatch, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., call: _Optional[_Union[Call, _Mapping]] = ..., chunk: _Optional[_Union[Chunk, _Mapping]] = ..., commit: _Optional[_Union[Commit, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ...) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ("host",)
    HOST_FIELD_NUMBER: _ClassVar[int]
    host: str
    def __init__(self, host: _Optional[str] = ...) -> None: ...

class InfoResponse(_message.Message):
    __slots__ = ("wants", "provides", "options")
    class OptionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OptionInfo
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OptionInfo, _Mapping]] = ...) -> None: ...
    WANTS_FIELD_NUMBER: _ClassVar[int]
    PROVIDES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    wants: EdgeType
    provides: EdgeType
    options: _containers.MessageMap[str, OptionInfo]
    def __init__(self, wants: _Optional[_Union[EdgeType, str]] = ..., provides: _Optional[_Union[EdgeType, str]] = ..., options: _Optional[_Mapping[str, OptionInfo]] = ...) -> None: ...

class OptionInfo(_message.Message):
    __slots__ = ("valueTypes",)
    VALUETYPES_FIELD_NUMBER: _ClassVar[int]
    valueTypes: _containers.RepeatedScalarFieldContainer[ValueType]
    def __init__(self, valueTypes: _Optional[_Iterable[_Union[ValueType, str]]] = ...) -> None: ...

class InitRequest(_message.Message):
    __slots__ = ("options", "taskID", "nodeID")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    TASKID_FIELD_NUMBER: _ClassVar[int]
    NODEID_FIELD_NUMBER: _ClassVar[int]
    options: _containers.RepeatedCompositeFieldContainer[Option]
    taskID: str
    nodeID: str
    def __init__(self, options: _Optional[_Iterable[_Union[Option, _Mapping]]] = ..., taskID: _Optional[str] = ..., nodeID: _Optional[str] = ...) -> None: ...

class Option(_message.Message):
    __slots__ = ("name", "values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedCompositeFieldContainer[OptionValue]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[_Union[OptionValue, _Mapping]]] = ...) -> None: ...

class OptionValue(_message.Message):
    __slots__ = ("type", "boolValue", "intValue", "doubleValue", "stringValue", "durationValue")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    BOOLVALUE_FIELD_NUMBER: _ClassVar[int]
    INTVALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLEVALUE_FIELD_NUMBER: _ClassVar[int]
    STRINGVALUE_FIELD_NUMBER: _ClassVar[int]
    DURATIONVALUE_FIELD_NUMBER: _ClassVar[int]
    type: ValueType
    boolValue: bool
    intValue: int
    doubleValue: float
    stringValue: str
    durationValue: int
    def __init__(self, type: _Optional[_Union[ValueType, str]] = ..., boolValue: bool = ..., intValue: _Optional[int] = ..., doubleValue: _Optional[float] = ..., stringValue: _Optional[str] = ..., durationValue: _Optional[int] = ...) -> None: ...

class InitResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: bool = ..., error: _Optional[str] = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("round",)
    ROUND_FIELD_NUMBER: _ClassVar[int]
    round: int
    def __init__(self, round: _Optional[int] = ...) -> None: ...

class SnapshotResponse(_message.Message):
    __slots__ = ("snapshot", "round", "blob", "size", "models", "error")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    snapshot: bytes
    round: int
    blob: bytes
    size: int
    models: _containers.RepeatedCompositeFieldContainer[Model]
    error: str
    def __init__(self, snapshot: _Optional[bytes] = ..., round: _Optional[int] = ..., blob: _Optional[bytes] = ..., size: _Optional[int] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class RestoreRequest(_message.Message):
    __slots__ = ("snapshot", "blob", "size", "manifest", "number")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    snapshot: bytes
    blob: bytes
    size: int
    manifest: bytes
    number: int
    def __init__(self, snapshot: _Optional[bytes] = ..., blob: _Optional[bytes] = ..., size: _Optional[int] = ..., manifest: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: bool = ..., error: _Optional[str] = ...) -> None: ...

class KeepaliveRequest(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: int
    def __init__(self, time: _Optional[int] = ...) -> None: ...

class KeepaliveResponse(_message.Message):
    __slots__ = ("time",)
    TIME_FIELD_NUMBER: _ClassVar[int]
    time: int
    def __init__(self, time: _Optional[int] = ...) -> None: ...

class ErrorResponse(_message.Message):
    __slots__ = ("error",)
    ERROR_FIELD_NUMBER: _ClassVar[int]
    error: str
    def __init__(self, error: _Optional[str] = ...) -> None: ...

class BeginBatch(_message.Message):
    __slots__ = ("name", "group", "tags", "size", "byName")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    BYNAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    group: str
    tags: _containers.ScalarMap[str, str]
    size: int
    byName: bool
    def __init__(self, name: _Optional[str] = ..., group: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., size: _Optional[int] = ..., byName: bool = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("time", "name", "database", "retentionPolicy", "group", "dimensions", "tags", "fieldsDouble", "fieldsInt", "fieldsString", "byName", "fieldsBool")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FieldsDoubleEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class FieldsIntEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FieldsStringEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FieldsBoolEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bool
        def __init__(self, key: _Optional[str] = ..., value: bool = ...) -> None: ...
    TIME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    RETENTIONPOLICY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FIELDSDOUBLE_FIELD_NUMBER: _ClassVar[int]
    FIELDSINT_FIELD_NUMBER: _ClassVar[int]
    FIELDSSTRING_FIELD_NUMBER: _ClassVar[int]
    BYNAME_FIELD_NUMBER: _ClassVar[int]
    FIELDSBOOL_FIELD_NUMBER: _ClassVar[int]
    time: int
    name: str
    database: str
    retentionPolicy: str
    group: str
    dimensions: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.ScalarMap[str, str]
    fieldsDouble: _containers.ScalarMap[str, float]
    fieldsInt: _containers.ScalarMap[str, int]
    fieldsString: _containers.ScalarMap[str, str]
    byName: bool
    fieldsBool: _containers.ScalarMap[str, bool]
    def __init__(self, time: _Optional[int] = ..., name: _Optional[str] = ..., database: _Optional[str] = ..., retentionPolicy: _Optional[str] = ..., group: _Optional[str] = ..., dimensions: _Optional[_Iterable[str]] = ..., tags: _Optional[_Mapping[str, str]] = ..., fieldsDouble: _Optional[_Mapping[str, float]] = ..., fieldsInt: _Optional[_Mapping[str, int]] = ..., fieldsString: _Optional[_Mapping[str, str]] = ..., byName: bool = ..., fieldsBool: _Optional[_Mapping[str, bool]] = ...) -> None: ...

class EndBatch(_message.Message):
    __slots__ = ("name", "group", "tmax", "tags", "byName")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TMAX_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    BYNAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    group: str
    tmax: int
    tags: _containers.ScalarMap[str, str]
    byName: bool
    def __init__(self, name: _Optional[str] = ..., group: _Optional[str] = ..., tmax: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., byName: bool = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "version", "store_id", "epoch", "revision", "chunk_bytes", "calls", "credit", "session", "save_credit", "descriptors")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SAVE_CREDIT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    version: str
    store_id: bytes
    epoch: int
    revision: int
    chunk_bytes: int
    calls: int
    credit: bool
    session: int
    save_credit: int
    descriptors: bool
    def __init__(self, protocol: _Optional[int] = ..., version: _Optional[str] = ..., store_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., calls: _Optional[int] = ..., credit: bool = ..., session: _Optional[int] = ..., save_credit: _Optional[int] = ..., descriptors: bool = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "claim", "credit", "node", "place", "descriptors")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    claim: Claim
    credit: bool
    node: Node
    place: Place
    descriptors: bool
    def __init__(self, protocol: _Optional[int] = ..., claim: _Optional[_Union[Claim, _Mapping]] = ..., credit: bool = ..., node: _Optional[_Union[Node, _Mapping]] = ..., place: _Optional[_Union[Place, _Mapping]] = ..., descriptors: bool = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("task", "node")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    task: str
    node: str
    def __init__(self, task: _Optional[str] = ..., node: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("task", "name", "dag", "fingerprint", "key", "options", "interval_ms", "policy", "host", "take_over", "no_save", "plain", "resumed", "restored", "snapshot", "source", "not_before_ns", "timeout_ms")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DAG_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    TAKE_OVER_FIELD_NUMBER: _ClassVar[int]
    NO_SAVE_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_NS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    task: str
    name: str
    dag: bytes
    fingerprint: str
    key: str
    options: str
    interval_ms: int
    policy: Policy
    host: HostKind
    take_over: bool
    no_save: bool
    plain: bool
    resumed: int
    restored: bytes
    snapshot: str
    source: str
    not_before_ns: int
    timeout_ms: int
    def __init__(self, task: _Optional[str] = ..., name: _Optional[str] = ..., dag: _Optional[bytes] = ..., fingerprint: _Optional[str] = ..., key: _Optional[str] = ..., options: _Optional[str] = ..., interval_ms: _Optional[int] = ..., policy: _Optional[_Union[Policy, str]] = ..., host: _Optional[_Union[HostKind, str]] = ..., take_over: bool = ..., no_save: bool = ..., plain: bool = ..., resumed: _Optional[int] = ..., restored: _Optional[bytes] = ..., snapshot: _Optional[str] = ..., source: _Optional[str] = ..., not_before_ns: _Optional[int] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("tag", "version", "id")
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    tag: str
    version: int
    id: bytes
    def __init__(self, tag: _Optional[str] = ..., version: _Optional[int] = ..., id: _Optional[bytes] = ...) -> None: ...

class Joined(_message.Message):
    __slots__ = ("owner", "manifest", "number", "why")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    owner: bool
    manifest: bytes
    number: int
    why: str
    def __init__(self, owner: bool = ..., manifest: _Optional[bytes] = ..., number: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class Restart(_message.Message):
    __slots__ = ("why",)
    WHY_FIELD_NUMBER: _ClassVar[int]
    why: str
    def __init__(self, why: _Optional[str] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("person", "host", "job", "commit")
    PERSON_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    person: str
    host: str
    job: str
    commit: str
    def __init__(self, person: _Optional[str] = ..., host: _Optional[str] = ..., job: _Optional[str] = ..., commit: _Optional[str] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Closing(_message.Message):
    __slots__ = ("grace_ms",)
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    grace_ms: int
    def __init__(self, grace_ms: _Optional[int] = ...) -> None: ...

class Call(_message.Message):
    __slots__ = ("call", "request", "credit", "save", "load", "stat", "verify", "why", "list_blobs", "missing", "delete", "move", "rollback", "untag", "get_tag", "list_tags", "history", "watch", "used", "status", "sessions", "hold", "release", "list_tasks", "delete_task", "list_snapshots", "find_snapshot", "list_states", "save_snapshot", "name_snapshot", "use_snapshot", "delete_snapshots", "plan_restore", "list_uses", "await_followers", "add_token", "remove_token", "list_tokens", "make_link", "read_metrics", "backup", "collect", "undelete", "check")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    SAVE_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    STAT_FIELD_NUMBER: _ClassVar[int]
    VERIFY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    LIST_BLOBS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    MOVE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    UNTAG_FIELD_NUMBER: _ClassVar[int]
    GET_TAG_FIELD_NUMBER: _ClassVar[int]
    LIST_TAGS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    LIST_TASKS_FIELD_NUMBER: _ClassVar[int]
    DELETE_TASK_FIELD_NUMBER: _ClassVar[int]
    LIST_SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    FIND_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    LIST_STATES_FIELD_NUMBER: _ClassVar[int]
    SAVE_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    NAME_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    USE_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    DELETE_SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_RESTORE_FIELD_NUMBER: _ClassVar[int]
    LIST_USES_FIELD_NUMBER: _ClassVar[int]
    AWAIT_FOLLOWERS_FIELD_NUMBER: _ClassVar[int]
    ADD_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REMOVE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LIST_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAKE_LINK_FIELD_NUMBER: _ClassVar[int]
    READ_METRICS_FIELD_NUMBER: _ClassVar[int]
    BACKUP_FIELD_NUMBER: _ClassVar[int]
    COLLECT_FIELD_NUMBER: _ClassVar[int]
    UNDELETE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    call: int
    request: bytes
    credit: int
    save: Save
    load: Load
    stat: Stat
    verify: Verify
    why: Why
    list_blobs: ListBlobs
    missing: Missing
    delete: Delete
    move: Move
    rollback: Rollback
    untag: Untag
    get_tag: GetTag
    list_tags: ListTags
    history: History
    watch: Watch
    used: Used
    status: Status
    sessions: Sessions
    hold: Hold
    release: Release
    list_tasks: ListTasks
    delete_task: DeleteTask
    list_snapshots: ListSnapshots
    find_snapshot: FindSnapshot
    list_states: ListStates
    save_snapshot: SaveSnapshot
    name_snapshot: NameSnapshot
    use_snapshot: UseSnapshot
    delete_snapshots: DeleteSnapshots
    plan_restore: PlanRestore
    list_uses: ListUses
    await_followers: AwaitFollowers
    add_token: AddToken
    remove_token: RemoveToken
    list_tokens: ListTokens
    make_link: MakeLink
    read_metrics: ReadMetrics
    backup: Backup
    collect: Collect
    undelete: Undelete
    check: Check
    def __init__(self, call: _Optional[int] = ..., request: _Optional[bytes] = ..., credit: _Optional[int] = ..., save: _Optional[_Union[Save, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., stat: _Optional[_Union[Stat, _Mapping]] = ..., verify: _Optional[_Union[Verify, _Mapping]] = ..., why: _Optional[_Union[Why, _Mapping]] = ..., list_blobs: _Optional[_Union[ListBlobs, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ..., move: _Optional[_Union[Move, _Mapping]] = ..., rollback: _Optional[_Union[Rollback, _Mapping]] = ..., untag: _Optional[_Union[Untag, _Mapping]] = ..., get_tag: _Optional[_Union[GetTag, _Mapping]] = ..., list_tags: _Optional[_Union[ListTags, _Mapping]] = ..., history: _Optional[_Union[History, _Mapping]] = ..., watch: _Optional[_Union[Watch, _Mapping]] = ..., used: _Optional[_Union[Used, _Mapping]] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., sessions: _Optional[_Union[Sessions, _Mapping]] = ..., hold: _Optional[_Union[Hold, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., list_tasks: _Optional[_Union[ListTasks, _Mapping]] = ..., delete_task: _Optional[_Union[DeleteTask, _Mapping]] = ..., list_snapshots: _Optional[_Union[ListSnapshots, _Mapping]] = ..., find_snapshot: _Optional[_Union[FindSnapshot, _Mapping]] = ..., list_states: _Optional[_Union[ListStates, _Mapping]] = ..., save_snapshot: _Optional[_Union[SaveSnapshot, _Mapping]] = ..., name_snapshot: _Optional[_Union[NameSnapshot, _Mapping]] = ..., use_snapshot: _Optional[_Union[UseSnapshot, _Mapping]] = ..., delete_snapshots: _Optional[_Union[DeleteSnapshots, _Mapping]] = ..., plan_restore: _Optional[_Union[PlanRestore, _Mapping]] = ..., list_uses: _Optional[_Union[ListUses, _Mapping]] = ..., await_followers: _Optional[_Union[AwaitFollowers, _Mapping]] = ..., add_token: _Optional[_Union[AddToken, _Mapping]] = ..., remove_token: _Optional[_Union[RemoveToken, _Mapping]] = ..., list_tokens: _Optional[_Union[ListTokens, _Mapping]] = ..., make_link: _Optional[_Union[MakeLink, _Mapping]] = ..., read_metrics: _Optional[_Union[ReadMetrics, _Mapping]] = ..., backup: _Optional[_Union[Backup, _Mapping]] = ..., collect: _Optional[_Union[Collect, _Mapping]] = ..., undelete: _Optional[_Union[Undelete, _Mapping]] = ..., check: _Optional[_Union[Check, _Mapping]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("call",)
    CALL_FIELD_NUMBER: _ClassVar[int]
    call: int
    def __init__(self, call: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("call", "data")
    CALL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    call: int
    data: bytes
    def __init__(self, call: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("call", "amount")
    CALL_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    call: int
    amount: int
    def __init__(self, call: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class Head(_message.Message):
    __slots__ = ("call", "blob", "offset", "length", "descriptor")
    CALL_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    call: int
    blob: Blob
    offset: int
    length: int
    descriptor: bool
    def __init__(self, call: _Optional[int] = ..., blob: _Optional[_Union[Blob, _Mapping]] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., descriptor: bool = ...) -> None: ...

class Page(_message.Message):
    __slots__ = ("call", "blobs", "entries", "sessions", "events", "tasks", "snapshots", "states", "given", "uses", "tokens", "texts", "backup_heads", "backup_blobs", "log_parts", "backup_ends", "garbage", "findings", "checked")
    CALL_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    BACKUP_HEADS_FIELD_NUMBER: _ClassVar[int]
    BACKUP_BLOBS_FIELD_NUMBER: _ClassVar[int]
    LOG_PARTS_FIELD_NUMBER: _ClassVar[int]
    BACKUP_ENDS_FIELD_NUMBER: _ClassVar[int]
    GARBAGE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CHECKED_FIELD_NUMBER: _ClassVar[int]
    call: int
    blobs: _containers.RepeatedCompositeFieldContainer[Blob]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    states: _containers.RepeatedCompositeFieldContainer[NodeState]
    given: _containers.RepeatedCompositeFieldContainer[Given]
    uses: _containers.RepeatedCompositeFieldContainer[Use]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    texts: _containers.RepeatedScalarFieldContainer[str]
    backup_heads: _containers.RepeatedCompositeFieldContainer[BackupHead]
    backup_blobs: _containers.RepeatedCompositeFieldContainer[BackupBlob]
    log_parts: _containers.RepeatedCompositeFieldContainer[LogPart]
    backup_ends: _containers.RepeatedCompositeFieldContainer[BackupEnd]
    garbage: _containers.RepeatedCompositeFieldContainer[Garbage]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    checked: _containers.RepeatedCompositeFieldContainer[Checked]
    def __init__(self, call: _Optional[int] = ..., blobs: _Optional[_Iterable[_Union[Blob, _Mapping]]] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., states: _Optional[_Iterable[_Union[NodeState, _Mapping]]] = ..., given: _Optional[_Iterable[_Union[Given, _Mapping]]] = ..., uses: _Optional[_Iterable[_Union[Use, _Mapping]]] = ..., tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., texts: _Optional[_Iterable[str]] = ..., backup_heads: _Optional[_Iterable[_Union[BackupHead, _Mapping]]] = ..., backup_blobs: _Optional[_Iterable[_Union[BackupBlob, _Mapping]]] = ..., log_parts: _Optional[_Iterable[_Union[LogPart, _Mapping]]] = ..., backup_ends: _Optional[_Iterable[_Union[BackupEnd, _Mapping]]] = ..., garbage: _Optional[_Iterable[_Union[Garbage, _Mapping]]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., checked: _Optional[_Iterable[_Union[Checked, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("call", "saved", "loaded", "blob", "kept", "missing", "deleted", "moved", "entry", "noted", "health", "ok", "snapshot", "taken", "dropped", "token", "new_token", "link", "undeleted")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    NOTED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NEW_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    UNDELETED_FIELD_NUMBER: _ClassVar[int]
    call: int
    saved: Saved
    loaded: Loaded
    blob: Blob
    kept: Kept
    missing: MissingIds
    deleted: Deleted
    moved: Moved
    entry: Entry
    noted: Noted
    health: Health
    ok: Ok
    snapshot: Snapshot
    taken: Taken
    dropped: Dropped
    token: Token
    new_token: NewToken
    link: Link
    undeleted: Undeleted
    def __init__(self, call: _Optional[int] = ..., saved: _Optional[_Union[Saved, _Mapping]] = ..., loaded: _Optional[_Union[Loaded, _Mapping]] = ..., blob: _Optional[_Union[Blob, _Mapping]] = ..., kept: _Optional[_Union[Kept, _Mapping]] = ..., missing: _Optional[_Union[MissingIds, _Mapping]] = ..., deleted: _Optional[_Union[Deleted, _Mapping]] = ..., moved: _Optional[_Union[Moved, _Mapping]] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., noted: _Optional[_Union[Noted, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., ok: _Optional[_Union[Ok, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., taken: _Optional[_Union[Taken, _Mapping]] = ..., dropped: _Optional[_Union[Dropped, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., new_token: _Optional[_Union[NewToken, _Mapping]] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., undeleted: _Optional[_Union[Undeleted, _Mapping]] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("call", "code", "message", "expected", "got")
    CALL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    GOT_FIELD_NUMBER: _ClassVar[int]
    call: int
    code: str
    message: str
    expected: str
    got: str
    def __init__(self, call: _Optional[int] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., expected: _Optional[str] = ..., got: _Optional[str] = ...) -> None: ...

class Ok(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Save(_message.Message):
    __slots__ = ("id", "size", "descriptor", "offset")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    descriptor: bool
    offset: int
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., descriptor: bool = ..., offset: _Optional[int] = ...) -> None: ...

class Commit(_message.Message):
    __slots__ = ("call", "size", "id", "target")
    CALL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    call: int
    size: int
    id: bytes
    target: Target
    def __init__(self, call: _Optional[int] = ..., size: _Optional[int] = ..., id: _Optional[bytes] = ..., target: _Optional[_Union[Target, _Mapping]] = ...) -> None: ...

class Target(_message.Message):
    __slots__ = ("tag", "note", "labels", "expected", "links")
    TAG_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    tag: str
    note: str
    labels: Labels
    expected: int
    links: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, tag: _Optional[str] = ..., note: _Optional[str] = ..., labels: _Optional[_Union[Labels, _Mapping]] = ..., expected: _Optional[int] = ..., links: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Labels(_message.Message):
    __slots__ = ("map",)
    class MapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MAP_FIELD_NUMBER: _ClassVar[int]
    map: _containers.ScalarMap[str, str]
    def __init__(self, map: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Saved(_message.Message):
    __slots__ = ("id", "size", "existed", "entry")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    existed: bool
    entry: Entry
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., existed: bool = ..., entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("ref", "offset", "length", "descriptor_from")
    REF_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_FROM_FIELD_NUMBER: _ClassVar[int]
    ref: str
    offset: int
    length: int
    descriptor_from: int
    def __init__(self, ref: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ..., descriptor_from: _Optional[int] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("length",)
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    length: int
    def __init__(self, length: _Optional[int] = ...) -> None: ...

class Stat(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class Verify(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class Why(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class Kept(_message.Message):
    __slots__ = ("blob", "named", "linked", "more", "rules", "let_go", "goes_ns")
    BLOB_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    LINKED_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    LET_GO_FIELD_NUMBER: _ClassVar[int]
    GOES_NS_FIELD_NUMBER: _ClassVar[int]
    blob: Blob
    named: _containers.RepeatedCompositeFieldContainer[Entry]
    linked: _containers.RepeatedCompositeFieldContainer[Entry]
    more: int
    rules: _containers.RepeatedScalarFieldContainer[str]
    let_go: _containers.RepeatedScalarFieldContainer[str]
    goes_ns: int
    def __init__(self, blob: _Optional[_Union[Blob, _Mapping]] = ..., named: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., linked: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., more: _Optional[int] = ..., rules: _Optional[_Iterable[str]] = ..., let_go: _Optional[_Iterable[str]] = ..., goes_ns: _Optional[int] = ...) -> None: ...

class ListBlobs(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Missing(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MissingIds(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Delete(_message.Message):
    __slots__ = ("ref", "force", "now")
    REF_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    ref: str
    force: bool
    now: bool
    def __init__(self, ref: _Optional[str] = ..., force: bool = ..., now: bool = ...) -> None: ...

class Deleted(_message.Message):
    __slots__ = ("id", "size", "versions", "more")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    versions: _containers.RepeatedScalarFieldContainer[str]
    more: int
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., versions: _Optional[_Iterable[str]] = ..., more: _Optional[int] = ...) -> None: ...

class Undelete(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class Undeleted(_message.Message):
    __slots__ = ("id", "size", "versions", "more")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    versions: _containers.RepeatedScalarFieldContainer[str]
    more: int
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., versions: _Optional[_Iterable[str]] = ..., more: _Optional[int] = ...) -> None: ...

class Blob(_message.Message):
    __slots__ = ("id", "size", "saved_ns", "verified_ns", "tags", "history", "entry")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SAVED_NS_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_NS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    saved_ns: int
    verified_ns: int
    tags: _containers.RepeatedScalarFieldContainer[str]
    history: int
    entry: Entry
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., saved_ns: _Optional[int] = ..., verified_ns: _Optional[int] = ..., tags: _Optional[_Iterable[str]] = ..., history: _Optional[int] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("steps", "note")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    note: str
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., note: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("tag", "ref", "expected", "labels", "links")
    TAG_FIELD_NUMBER: _ClassVar[int]
    REF_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    tag: str
    ref: str
    expected: int
    labels: Labels
    links: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, tag: _Optional[str] = ..., ref: _Optional[str] = ..., expected: _Optional[int] = ..., labels: _Optional[_Union[Labels, _Mapping]] = ..., links: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Rollback(_message.Message):
    __slots__ = ("tag", "to", "expected", "note", "labels")
    TAG_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    tag: str
    to: int
    expected: int
    note: str
    labels: Labels
    def __init__(self, tag: _Optional[str] = ..., to: _Optional[int] = ..., expected: _Optional[int] = ..., note: _Optional[str] = ..., labels: _Optional[_Union[Labels, _Mapping]] = ...) -> None: ...

class Untag(_message.Message):
    __slots__ = ("tags", "expected", "note")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    expected: _containers.RepeatedScalarFieldContainer[int]
    note: str
    def __init__(self, tags: _Optional[_Iterable[str]] = ..., expected: _Optional[_Iterable[int]] = ..., note: _Optional[str] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("tag", "note")
    TAG_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    note: str
    def __init__(self, tag: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("tag", "note")
    TAG_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    tag: str
    note: str
    def __init__(self, tag: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class Moved(_message.Message):
    __slots__ = ("entries", "before", "skipped", "author", "note")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    before: _containers.RepeatedCompositeFieldContainer[Entry]
    skipped: _containers.RepeatedScalarFieldContainer[str]
    author: Author
    note: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., before: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., skipped: _Optional[_Iterable[str]] = ..., author: _Optional[_Union[Author, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class GetTag(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...

class ListTags(_message.Message):
    __slots__ = ("prefix",)
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    def __init__(self, prefix: _Optional[str] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("tag",)
    TAG_FIELD_NUMBER: _ClassVar[int]
    tag: str
    def __init__(self, tag: _Optional[str] = ...) -> None: ...

class Watch(_message.Message):
    __slots__ = ("prefix", "since", "epoch")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    since: int
    epoch: int
    def __init__(self, prefix: _Optional[str] = ..., since: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("revision", "entries", "present", "author", "note")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    revision: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    present: bool
    author: Author
    note: str
    def __init__(self, revision: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., present: bool = ..., author: _Optional[_Union[Author, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class Used(_message.Message):
    __slots__ = ("tag", "version", "id", "error")
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tag: str
    version: int
    id: bytes
    error: str
    def __init__(self, tag: _Optional[str] = ..., version: _Optional[int] = ..., id: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class Noted(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("tag", "version", "id", "size", "revision", "time_ns", "author", "note", "labels", "origin", "source", "links", "held")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    tag: str
    version: int
    id: bytes
    size: int
    revision: int
    time_ns: int
    author: Author
    note: str
    labels: _containers.ScalarMap[str, str]
    origin: int
    source: str
    links: _containers.RepeatedScalarFieldContainer[bytes]
    held: bool
    def __init__(self, tag: _Optional[str] = ..., version: _Optional[int] = ..., id: _Optional[bytes] = ..., size: _Optional[int] = ..., revision: _Optional[int] = ..., time_ns: _Optional[int] = ..., author: _Optional[_Union[Author, _Mapping]] = ..., note: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., origin: _Optional[int] = ..., source: _Optional[str] = ..., links: _Optional[_Iterable[bytes]] = ..., held: bool = ...) -> None: ...

class Author(_message.Message):
    __slots__ = ("front", "uid", "gids", "pid", "program", "token", "claim")
    FRONT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GIDS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    front: str
    uid: int
    gids: _containers.RepeatedScalarFieldContainer[int]
    pid: int
    program: str
    token: str
    claim: Claim
    def __init__(self, front: _Optional[str] = ..., uid: _Optional[int] = ..., gids: _Optional[_Iterable[int]] = ..., pid: _Optional[int] = ..., program: _Optional[str] = ..., token: _Optional[str] = ..., claim: _Optional[_Union[Claim, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Health(_message.Message):
    __slots__ = ("version", "root", "pid", "store_id", "epoch", "revision", "blobs", "bytes", "tags", "connections", "started_ns", "free_bytes", "problem", "retention", "usage", "warning")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    version: str
    root: str
    pid: int
    store_id: bytes
    epoch: int
    revision: int
    blobs: int
    bytes: int
    tags: int
    connections: int
    started_ns: int
    free_bytes: int
    problem: str
    retention: _containers.RepeatedScalarFieldContainer[str]
    usage: _containers.RepeatedCompositeFieldContainer[Usage]
    warning: str
    def __init__(self, version: _Optional[str] = ..., root: _Optional[str] = ..., pid: _Optional[int] = ..., store_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., blobs: _Optional[int] = ..., bytes: _Optional[int] = ..., tags: _Optional[int] = ..., connections: _Optional[int] = ..., started_ns: _Optional[int] = ..., free_bytes: _Optional[int] = ..., problem: _Optional[str] = ..., retention: _Optional[_Iterable[str]] = ..., usage: _Optional[_Iterable[_Union[Usage, _Mapping]]] = ..., warning: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("owner", "blobs", "bytes", "unnamed", "quota")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    UNNAMED_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    owner: str
    blobs: int
    bytes: int
    unnamed: int
    quota: int
    def __init__(self, owner: _Optional[str] = ..., blobs: _Optional[int] = ..., bytes: _Optional[int] = ..., unnamed: _Optional[int] = ..., quota: _Optional[int] = ...) -> None: ...

class Sessions(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "author", "since_ns", "calls", "following", "place", "role", "heard_ns")
    ID_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    FOLLOWING_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    HEARD_NS_FIELD_NUMBER: _ClassVar[int]
    id: int
    author: Author
    since_ns: int
    calls: int
    following: _containers.RepeatedCompositeFieldContainer[Following]
    place: Place
    role: str
    heard_ns: int
    def __init__(self, id: _Optional[int] = ..., author: _Optional[_Union[Author, _Mapping]] = ..., since_ns: _Optional[int] = ..., calls: _Optional[int] = ..., following: _Optional[_Iterable[_Union[Following, _Mapping]]] = ..., place: _Optional[_Union[Place, _Mapping]] = ..., role: _Optional[str] = ..., heard_ns: _Optional[int] = ...) -> None: ...

class Following(_message.Message):
    __slots__ = ("tag", "version", "id", "error")
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tag: str
    version: int
    id: bytes
    error: str
    def __init__(self, tag: _Optional[str] = ..., version: _Optional[int] = ..., id: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class ListTasks(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Task(_message.Message):
    __slots__ = ("name", "fingerprint", "host", "nodes", "newest", "confirmed_ns", "automatic", "named", "chosen", "fresh", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_NS_FIELD_NUMBER: _ClassVar[int]
    AUTOMATIC_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    fingerprint: str
    host: HostKind
    nodes: _containers.RepeatedScalarFieldContainer[str]
    newest: Snapshot
    confirmed_ns: int
    automatic: int
    named: int
    chosen: bytes
    fresh: bool
    problem: str
    def __init__(self, name: _Optional[str] = ..., fingerprint: _Optional[str] = ..., host: _Optional[_Union[HostKind, str]] = ..., nodes: _Optional[_Iterable[str]] = ..., newest: _Optional[_Union[Snapshot, _Mapping]] = ..., confirmed_ns: _Optional[int] = ..., automatic: _Optional[int] = ..., named: _Optional[int] = ..., chosen: _Optional[bytes] = ..., fresh: bool = ..., problem: _Optional[str] = ...) -> None: ...

class DeleteTask(_message.Message):
    __slots__ = ("task", "all")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    task: str
    all: bool
    def __init__(self, task: _Optional[str] = ..., all: bool = ...) -> None: ...

class ListSnapshots(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("id", "task", "number", "names", "time_ns", "reason", "fingerprint", "nodes", "bytes")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    task: str
    number: int
    names: _containers.RepeatedScalarFieldContainer[str]
    time_ns: int
    reason: str
    fingerprint: str
    nodes: int
    bytes: int
    def __init__(self, id: _Optional[bytes] = ..., task: _Optional[str] = ..., number: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., time_ns: _Optional[int] = ..., reason: _Optional[str] = ..., fingerprint: _Optional[str] = ..., nodes: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class FindSnapshot(_message.Message):
    __slots__ = ("task", "snapshot")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    task: str
    snapshot: str
    def __init__(self, task: _Optional[str] = ..., snapshot: _Optional[str] = ...) -> None: ...

class ListStates(_message.Message):
    __slots__ = ("task", "snapshot")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    task: str
    snapshot: str
    def __init__(self, task: _Optional[str] = ..., snapshot: _Optional[str] = ...) -> None: ...

class NodeState(_message.Message):
    __slots__ = ("id", "name", "blob", "size", "key", "options", "restored", "carried", "models")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    CARRIED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    blob: bytes
    size: int
    key: str
    options: str
    restored: bytes
    carried: bool
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., blob: _Optional[bytes] = ..., size: _Optional[int] = ..., key: _Optional[str] = ..., options: _Optional[str] = ..., restored: _Optional[bytes] = ..., carried: bool = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class SaveSnapshot(_message.Message):
    __slots__ = ("task", "reason", "name")
    TASK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    task: str
    reason: str
    name: str
    def __init__(self, task: _Optional[str] = ..., reason: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Taken(_message.Message):
    __slots__ = ("snapshot", "good", "why")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    GOOD_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    snapshot: Snapshot
    good: bool
    why: str
    def __init__(self, snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., good: bool = ..., why: _Optional[str] = ...) -> None: ...

class NameSnapshot(_message.Message):
    __slots__ = ("task", "name", "snapshot", "note")
    TASK_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    task: str
    name: str
    snapshot: str
    note: str
    def __init__(self, task: _Optional[str] = ..., name: _Optional[str] = ..., snapshot: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class UseSnapshot(_message.Message):
    __slots__ = ("task", "snapshot", "before", "now")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    task: str
    snapshot: str
    before: str
    now: bool
    def __init__(self, task: _Optional[str] = ..., snapshot: _Optional[str] = ..., before: _Optional[str] = ..., now: bool = ...) -> None: ...

class DeleteSnapshots(_message.Message):
    __slots__ = ("task", "snapshots", "all")
    TASK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    task: str
    snapshots: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    def __init__(self, task: _Optional[str] = ..., snapshots: _Optional[_Iterable[str]] = ..., all: bool = ...) -> None: ...

class Dropped(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ...) -> None: ...

class PlanRestore(_message.Message):
    __slots__ = ("task", "dag", "policy", "snapshot")
    TASK_FIELD_NUMBER: _ClassVar[int]
    DAG_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    task: str
    dag: bytes
    policy: Policy
    snapshot: str
    def __init__(self, task: _Optional[str] = ..., dag: _Optional[bytes] = ..., policy: _Optional[_Union[Policy, str]] = ..., snapshot: _Optional[str] = ...) -> None: ...

class Given(_message.Message):
    __slots__ = ("node", "id", "why", "state", "snapshot", "lost")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    node: str
    id: str
    why: str
    state: NodeState
    snapshot: Snapshot
    lost: bool
    def __init__(self, node: _Optional[str] = ..., id: _Optional[str] = ..., why: _Optional[str] = ..., state: _Optional[_Union[NodeState, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., lost: bool = ...) -> None: ...

class ListUses(_message.Message):
    __slots__ = ("task", "tag", "at_ns", "all")
    TASK_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    task: str
    tag: str
    at_ns: int
    all: bool
    def __init__(self, task: _Optional[str] = ..., tag: _Optional[str] = ..., at_ns: _Optional[int] = ..., all: bool = ...) -> None: ...

class Use(_message.Message):
    __slots__ = ("revision", "time_ns", "author", "place", "tag", "version", "id", "error")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    revision: int
    time_ns: int
    author: Author
    place: Place
    tag: str
    version: int
    id: bytes
    error: str
    def __init__(self, revision: _Optional[int] = ..., time_ns: _Optional[int] = ..., author: _Optional[_Union[Author, _Mapping]] = ..., place: _Optional[_Union[Place, _Mapping]] = ..., tag: _Optional[str] = ..., version: _Optional[int] = ..., id: _Optional[bytes] = ..., error: _Optional[str] = ...) -> None: ...

class AwaitFollowers(_message.Message):
    __slots__ = ("tag", "version", "timeout_ms")
    TAG_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    tag: str
    version: int
    timeout_ms: int
    def __init__(self, tag: _Optional[str] = ..., version: _Optional[int] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class AddToken(_message.Message):
    __slots__ = ("name", "can")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CAN_FIELD_NUMBER: _ClassVar[int]
    name: str
    can: Can
    def __init__(self, name: _Optional[str] = ..., can: _Optional[_Union[Can, str]] = ...) -> None: ...

class RemoveToken(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListTokens(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Token(_message.Message):
    __slots__ = ("name", "can", "added_ns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CAN_FIELD_NUMBER: _ClassVar[int]
    ADDED_NS_FIELD_NUMBER: _ClassVar[int]
    name: str
    can: Can
    added_ns: int
    def __init__(self, name: _Optional[str] = ..., can: _Optional[_Union[Can, str]] = ..., added_ns: _Optional[int] = ...) -> None: ...

class NewToken(_message.Message):
    __slots__ = ("token", "secret")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    token: Token
    secret: str
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class MakeLink(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Link(_message.Message):
    __slots__ = ("url", "seconds")
    URL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    url: str
    seconds: int
    def __init__(self, url: _Optional[str] = ..., seconds: _Optional[int] = ...) -> None: ...

class ReadMetrics(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: bool
    def __init__(self, names: bool = ...) -> None: ...

class Backup(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BackupHead(_message.Message):
    __slots__ = ("store_id", "epoch", "revision", "format", "blobs", "bytes", "log_bytes", "time_ns")
    STORE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    store_id: bytes
    epoch: int
    revision: int
    format: str
    blobs: int
    bytes: int
    log_bytes: int
    time_ns: int
    def __init__(self, store_id: _Optional[bytes] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., format: _Optional[str] = ..., blobs: _Optional[int] = ..., bytes: _Optional[int] = ..., log_bytes: _Optional[int] = ..., time_ns: _Optional[int] = ...) -> None: ...

class BackupBlob(_message.Message):
    __slots__ = ("id", "size", "saved_ns")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SAVED_NS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    saved_ns: int
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., saved_ns: _Optional[int] = ...) -> None: ...

class LogPart(_message.Message):
    __slots__ = ("segment", "data")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    segment: int
    data: bytes
    def __init__(self, segment: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class BackupEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Collect(_message.Message):
    __slots__ = ("dry_run", "grace_s", "now")
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    grace_s: int
    now: bool
    def __init__(self, dry_run: bool = ..., grace_s: _Optional[int] = ..., now: bool = ...) -> None: ...

class Garbage(_message.Message):
    __slots__ = ("id", "size", "fate", "why", "refs", "goes_ns")
    ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REFS_FIELD_NUMBER: _ClassVar[int]
    GOES_NS_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    size: int
    fate: Fate
    why: str
    refs: _containers.RepeatedScalarFieldContainer[str]
    goes_ns: int
    def __init__(self, id: _Optional[bytes] = ..., size: _Optional[int] = ..., fate: _Optional[_Union[Fate, str]] = ..., why: _Optional[str] = ..., refs: _Optional[_Iterable[str]] = ..., goes_ns: _Optional[int] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("since_ns", "repair")
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    since_ns: int
    repair: bool
    def __init__(self, since_ns: _Optional[int] = ..., repair: bool = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("kind", "text", "id", "place", "refs", "more", "mended")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    REFS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    MENDED_FIELD_NUMBER: _ClassVar[int]
    kind: FindingKind
    text: str
    id: bytes
    place: str
    refs: _containers.RepeatedScalarFieldContainer[str]
    more: int
    mended: bool
    def __init__(self, kind: _Optional[_Union[FindingKind, str]] = ..., text: _Optional[str] = ..., id: _Optional[bytes] = ..., place: _Optional[str] = ..., refs: _Optional[_Iterable[str]] = ..., more: _Optional[int] = ..., mended: bool = ...) -> None: ...

class Checked(_message.Message):
    __slots__ = ("began_ns", "revision", "blobs", "bytes", "of_bytes")
    BEGAN_NS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    OF_BYTES_FIELD_NUMBER: _ClassVar[int]
    began_ns: int
    revision: int
    blobs: int
    bytes: int
    of_bytes: int
    def __init__(self, began_ns: _Optional[int] = ..., revision: _Optional[int] = ..., blobs: _Optional[int] = ..., bytes: _Optional[int] = ..., of_bytes: _Optional[int] = ...) -> None: ...
