
¡
saved_model.proto
tensorflow"„

SavedModel;
saved_model_schema_version (RsavedModelSchemaVersion9
meta_graphs (2.tensorflow.MetaGraphDefR
metaGraphs"€
MetaGraphDefH
meta_info_def (2$.tensorflow.MetaGraphDef.MetaInfoDefRmetaInfoDef1
	graph_def (2.tensorflow.GraphDefRgraphDefO
signature_def (2*.tensorflow.MetaGraphDef.SignatureDefEntryRsignatureDef>
asset_file_def (2.tensorflow.AssetFileDefRassetFileDef†
MetaInfoDef
tags (	Rtags-
tensorflow_version (	RtensorflowVersion4
stripped_default_attrs (RstrippedDefaultAttrsY
SignatureDefEntry
key (	Rkey.
value (2.tensorflow.SignatureDefRvalue:8"c
AssetFileDef7
tensor_info (2.tensorflow.TensorInfoR
tensorInfo
filename (	Rfilename"¡
GraphDef'
node (2.tensorflow.NodeDefRnode8
library (2.tensorflow.FunctionDefLibraryRlibrary2
versions (2.tensorflow.VersionDefRversions"p

VersionDef
producer (Rproducer!
min_consumer (RminConsumer#
bad_consumers (RbadConsumers"Þ
NodeDef
name (	Rname
op (	Rop
input (	Rinput
device (	Rdevice1
attr (2.tensorflow.NodeDef.AttrEntryRattrN
	AttrEntry
key (	Rkey+
value (2.tensorflow.AttrValueRvalue:8""
NameAttrList
name (	Rname"ç
	AttrValue3
list (2.tensorflow.AttrValue.ListValueRlist
s (Rs
i (Ri
b (Rb
type (Rtype,
func
 (2.tensorflow.NameAttrListRfunc9
	ListValue,
func	 (2.tensorflow.NameAttrListRfunc"I
FunctionDefLibrary3
function (2.tensorflow.FunctionDefRfunction"á
FunctionDef/
	signature (2.tensorflow.OpDefR	signature.
node_def (2.tensorflow.NodeDefRnodeDef2
ret (2 .tensorflow.FunctionDef.RetEntryRret5
attr (2!.tensorflow.FunctionDef.AttrEntryRattr6
RetEntry
key (	Rkey
value (	Rvalue:8N
	AttrEntry
key (	Rkey+
value (2.tensorflow.AttrValueRvalue:8"¢
OpDef
name (	Rname5
	input_arg (2.tensorflow.OpDef.ArgDefRinputArg7

output_arg (2.tensorflow.OpDef.ArgDefR	outputArg”
ArgDef
name (	Rname
type (Rtype
	type_attr (	RtypeAttr
number_attr (	R
numberAttr$
type_list_attr (	RtypeListAttr"„
TensorShapeProto2
dim (2 .tensorflow.TensorShapeProto.DimRdim!
unknown_rank (RunknownRank
Dim
size (Rsize"w

TensorInfo
name (	Rname
dtype (Rdtype?
tensor_shape (2.tensorflow.TensorShapeProtoRtensorShape"Õ
SignatureDef<
inputs (2$.tensorflow.SignatureDef.InputsEntryRinputs?
outputs (2%.tensorflow.SignatureDef.OutputsEntryRoutputs
method_name (	R
methodNameQ
InputsEntry
key (	Rkey,
value (2.tensorflow.TensorInfoRvalue:8R
OutputsEntry
key (	Rkey,
value (2.tensorflow.TensorInfoRvalue:8"2
BundleHeaderProto

num_shards (R	numShards"£
BundleEntryProto
dtype (Rdtype2
shape (2.tensorflow.TensorShapeProtoRshape
shard_id (RshardId
offset (Roffset
size (Rsizebproto3
ü
kinds.protorawbert.kindssaved_model.proto"J

SavedModel<
meta_graphs (2.rawbert.kinds.MetaGraphDefR
metaGraphs"ý
MetaGraphDefH
meta_info_def (2$.tensorflow.MetaGraphDef.MetaInfoDefRmetaInfoDef4
	graph_def (2.rawbert.kinds.GraphDefRgraphDefR
signature_def (2-.rawbert.kinds.MetaGraphDef.SignatureDefEntryRsignatureDef>
asset_file_def (2.tensorflow.AssetFileDefRassetFileDefY
SignatureDefEntry
key (	Rkey.
value (2.tensorflow.SignatureDefRvalue:8"†
GraphDef
node (Rnode2
library (2.rawbert.kinds.FunctionsRlibrary2
versions (2.tensorflow.VersionDefRversions"'
	Functions
function (Rfunction"×
FunctionDef6
	signature (2.rawbert.kinds.SignatureR	signature
node_def (RnodeDef5
ret (2#.rawbert.kinds.FunctionDef.RetEntryRret8
attr (2$.rawbert.kinds.FunctionDef.AttrEntryRattr6
RetEntry
key (	Rkey
value (	Rvalue:8L
	AttrEntry
key (	Rkey)
value (2.rawbert.kinds.AttrRvalue:8"u
	Signature
name (	Rname
	input_arg (RinputArg7

output_arg (2.tensorflow.OpDef.ArgDefR	outputArg"
Attr
b (Rb""
Nodes
node_def (RnodeDef"0
Node
name (	Rname
input (	Rinput"
Names
name (	Rname"A
KindsOfFunction.
node_def (2.rawbert.kinds.KindRnodeDef"X
Kind
op (	Rop
device (	Rdevice(
attr (2.rawbert.kinds.EntryRattr"K
KindsOfSmallFunction3
node_def (2.rawbert.kinds.SmallKindRnodeDef"G
	SmallKind
op (	Rop
device (	Rdevice
attr (Rattr"E
Entry
key (	Rkey*
value (2.rawbert.kinds.ValueRvalue"ð
Value2
list (2.rawbert.kinds.Value.FunctionsRlist
b (Rb
type (Rtype1
func
 (2.rawbert.kinds.Value.FunctionRfunc
Function
name (	Rname>
	Functions1
func	 (2.rawbert.kinds.Value.FunctionRfuncbproto3