import { create, createFileRegistry, type DescMessage } from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

const SCALARS: Readonly<Record<string, FieldDescriptorProto_Type>> = {
  bytes: FieldDescriptorProto_Type.BYTES,
  string: FieldDescriptorProto_Type.STRING,
  bool: FieldDescriptorProto_Type.BOOL,
  int64: FieldDescriptorProto_Type.INT64,
  uint64: FieldDescriptorProto_Type.UINT64,
  uint32: FieldDescriptorProto_Type.UINT32,
};

/**
 * Messages for the protobuf library by their names. A message is its fields, separated by semicolons: the name, `repeated` where it
 * is, the type, and the number, which is the place in the list where there is none.
 */
export function messageTypes(messages: Readonly<Record<string, string>>): (name: string) => DescMessage {
  const file = create(FileDescriptorProtoSchema, {
    name: "messages.proto",
    package: "pb",
    syntax: "proto3",
    messageType: Object.entries(messages).map(([name, fields]) => ({
      name,
      field: fields.split("; ").map((text, i) => field(text, i + 1)),
    })),
  });
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  return (name) => registry.getMessage(`pb.${name}`)!;
}

function field(text: string, place: number): ReturnType<typeof create<typeof FieldDescriptorProtoSchema>> {
  const words = text.split(" ");
  const last = words.at(-1)!;
  const hasNumber = /^[0-9]+$/.test(last);
  const type = hasNumber ? words.at(-2)! : last;
  return create(FieldDescriptorProtoSchema, {
    name: words[0]!,
    jsonName: words[0]!,
    number: hasNumber ? Number(last) : place,
    label: words.includes("repeated") ? FieldDescriptorProto_Label.REPEATED : FieldDescriptorProto_Label.OPTIONAL,
    ...(type in SCALARS
      ? { type: SCALARS[type]! }
      : { type: FieldDescriptorProto_Type.MESSAGE, typeName: `.pb.${type}` }),
  });
}
